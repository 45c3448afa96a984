"""Generation: prompts and what models answer."""
