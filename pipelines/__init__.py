"""Thorax: thoracic images into numbers a clinician can check and correct."""

__version__ = "0.1.0"
