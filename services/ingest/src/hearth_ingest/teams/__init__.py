"""Exports of Teams and Skype as a source."""
