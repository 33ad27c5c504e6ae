"""The API of Hearth: resource kinds and the contracts between its parts."""
