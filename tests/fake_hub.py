"""A Hugging Face hub on this machine: as much of its protocol as huggingface_hub uses for small files."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from fake_server import FakeHandler, serve


@dataclass
class Hub:
    """Repositories by `models/OWNER/NAME` or `datasets/OWNER/NAME`: a list of commits, each all its files."""

    repos: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    address: str = ""

    def newest(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo][-1]


def commit_id(repo: str, number: int) -> str:
    return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    with serve(Handler) as hub.address:
        yield hub


class _Handler(FakeHandler, BaseHTTPRequestHandler):
    state: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/preupload/main", path):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._answer({"files": modes})
        elif found := re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/commit/main", path):
            self._commit(found[1], body)
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        else:
            self._refuse(404, "EntryNotFound")

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._tell(*found.groups())
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send(f"{found[1] or 'models/'}{found[2]}", found[3], found[4])
        else:
            self._refuse(404, "EntryNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted.get('type', 'model')}s/{wanted['organization']}/{wanted['name']}"
        address = f"{self.state.address}/{repo.removeprefix('models/')}"
        if repo in self.state.repos:
            self._answer({"error": "already there", "url": address}, code=409)
            return
        self.state.repos[repo] = [{".gitattributes": b"*.safetensors filter=lfs\n"}]
        self.state.private[repo] = wanted.get("visibility") == "private"
        self._answer({"url": address})

    def _commit(self, repo: str, body: bytes) -> None:
        files = dict(self.state.newest(repo))
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
        self.state.repos[repo].append(files)
        oid = commit_id(repo, len(self.state.repos[repo]) - 1)
        self._answer(
            {"success": True, "commitOid": oid, "commitUrl": f"{self.state.address}/{repo}/commit/{oid}"}
        )

    def _files(self, repo: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        commits = self.state.repos.get(repo, [])
        for number, files in reversed(list(enumerate(commits))):
            if revision in (None, "main", commit_id(repo, number)):
                return commit_id(repo, number), files
        return None

    def _tell(self, repo: str, what: str | None, revision: str | None) -> None:
        found = self._files(repo, revision)
        if found is None:
            self._refuse(404, "RepoNotFound")
            return
        oid, files = found
        if what == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            self._answer(entries)
            return
        siblings = [{"rfilename": path} for path in files]
        self._answer(
            {"id": repo.partition("/")[2], "sha": oid, "private": True, "siblings": siblings, "tags": []}
        )

    def _send(self, repo: str, revision: str, path: str) -> None:
        found = self._files(repo, revision)
        if found is None or path not in found[1]:
            self._refuse(404, "RepoNotFound" if found is None else "EntryNotFound")
            return
        content = found[1][path]
        etag = hashlib.sha1(content).hexdigest()
        self.reply(200, content, {"X-Repo-Commit": found[0], "ETag": f'"{etag}"'})

    def _answer(self, content: object, *, code: int = 200) -> None:
        self.reply(code, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, code: int, reason: str) -> None:
        self.reply(code, b"{}", {"X-Error-Code": reason})
