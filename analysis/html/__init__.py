"""The page: its parts, its words, its templates."""
