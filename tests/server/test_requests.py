"""What is taken from requests and told of errors."""

from pathlib import Path

import pytest

from pipelines.server.requests import without_places


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("found /srv/my studies/a/b.nii.gz: cut", "found a/b.nii.gz: cut"),
        (
            "in /srv/my studies/.thorax/uploads/0a1b2c3d-0000-4000-8000-0123456789ab.nii.gz; copy it",
            "in the file; copy it",
        ),
        (
            "in /srv/my studies/.thorax/uploads/0a1b2c3d-0000-4000-8000-0123456789ab/00001.dcm: x",
            "in the file: x",
        ),
        ("[Errno 2] No such file: '/home/anna/secret/users.json'", "[Errno 2] No such file: 'users.json'"),
        (
            "expected 3-D or 4-D, 1/2 of 3/4, found (24, 20)",
            "expected 3-D or 4-D, 1/2 of 3/4, found (24, 20)",
        ),
    ],
)
def test_an_error_tells_no_place_on_this_machine(text: str, told: str) -> None:
    assert without_places(text, Path("/srv/my studies")) == told
