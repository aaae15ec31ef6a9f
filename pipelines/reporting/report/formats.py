"""The formats of a report and their files."""

from enum import StrEnum


class Format(StrEnum):
    """What a report is written as."""

    HTML = "html"
    PDF = "pdf"
    PPTX = "pptx"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return "slides.pptx" if self is Format.PPTX else f"report.{self}"
