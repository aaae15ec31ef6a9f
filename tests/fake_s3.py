"""An object store on this machine: as much of S3's protocol as obstore uses for small objects."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from fake_server import FakeHandler, serve


@contextmanager
def serve_s3() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and its objects by `BUCKET/KEY`, until the block ends."""
    objects: dict[str, bytes] = {}

    class Handler(_Handler):
        state = objects

    with serve(Handler) as address:
        yield address, objects


class _Handler(FakeHandler, BaseHTTPRequestHandler):
    state: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.state[self._key()] = content
        self.reply(200, b"", {"ETag": _etag(content)})

    def do_POST(self) -> None:
        """Delete the objects that are listed: the only request of this kind."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", body)]
        for key in keys:
            self.state.pop(f"{self._key()}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self.reply(
            200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {"Content-Type": "application/xml"}
        )

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
        elif self._key() in self.state:
            content = self.state[self._key()]
            self.reply(200, content, {"ETag": _etag(content), "Last-Modified": formatdate(0, usegmt=True)})
        else:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>", {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _list(self, prefix: str, delimiter: str) -> None:
        bucket = self._key().rstrip("/")
        keys = sorted(
            key.removeprefix(f"{bucket}/") for key in self.state if key.startswith(f"{bucket}/{prefix}")
        )
        rest = {key: key.removeprefix(prefix) for key in keys}
        folders = {
            prefix + tail.partition(delimiter)[0] + delimiter
            for tail in rest.values()
            if delimiter and delimiter in tail
        }
        parts = [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        for key, tail in rest.items():
            if delimiter and delimiter in tail:
                continue
            content = self.state[f"{bucket}/{key}"]
            parts.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(_etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
            )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(parts)}</ListBucketResult>"
        self.reply(200, body.encode(), {"Content-Type": "application/xml"})


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
