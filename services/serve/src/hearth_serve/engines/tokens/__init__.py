"""What engines share that give tokens, not text: templates, tools, grammars, stop sequences, OpenAI's chunks."""
