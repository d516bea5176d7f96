"""Sentences in documents that promise something."""

import re
from pathlib import Path

# Words that leave no room for exceptions.
WORDS = re.compile(r'\b(never|always|exactly|bit for bit|identical(?:ly)?|guaranteed?|not at all)\b', re.IGNORECASE)


def read_sentences(text: str) -> list[str]:
    """Returns the sentences of a document: of its paragraphs and list entries, and the cells of its tables.

    Blocks of code are left out. Bold type and the addresses of links are removed, and lines joined.
    """
    text = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text).replace('**', '')
    blocks = re.split(r'\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) |\||#)', text)
    sentences = [sentence for block in blocks for cell in (block.split('|') if block.startswith('|') else [block])
                 for sentence in re.split(r'(?<=[.!?;:])\s+', re.sub(r'\s+', ' ', cell).strip())]
    return [sentence for sentence in sentences if sentence.strip('- ')]


def promising(path: Path) -> list[str]:
    """Returns the sentences of a document with one of WORDS, and all list entries of its section "What is promised".

    Sentences about files that are written stand in a paragraph of this section, and are returned one by one.
    """
    text = path.read_text(encoding='utf-8')
    found = [sentence for sentence in read_sentences(text) if WORDS.search(sentence)]
    section = re.search(r'^## What is promised\n(.*?)^## ', text, re.MULTILINE | re.DOTALL)
    entries = re.split(r'\n(?=- )|\n\n', section[1]) if section else []
    outputs = [sentence for entry in entries if entry.startswith('About **outputs**')
               for sentence in read_sentences(entry) if not sentence.startswith(('About', '('))]
    return found + [' '.join(read_sentences(entry)) for entry in entries if entry.startswith('- ')] + outputs
