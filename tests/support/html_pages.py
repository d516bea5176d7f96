"""Reads the pages that mmcell writes, as a browser does."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The content of a page.

    Attributes:
        sections: The text of each section by its id.
        tables: The tables of each section by its id: each a list of rows, which are lists of texts.
        scripts: The content of each script element.
        title: The title of the window.
        notes: The notes at the top, before the first section.
        tags: All elements with their attributes.
    """

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.sections, self.tables, self.scripts, self.title, self.tags = {}, {}, [], '', []
        self.notes = []
        self._section, self._open = None, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == 'section':
            self._section = dict(attrs)['id']
            self.sections[self._section], self.tables[self._section] = '', []
        elif tag == 'script':
            self.scripts.append('')
        elif not self._section and tag == 'li':
            self.notes.append('')
        elif self._section and tag == 'table':
            self.tables[self._section].append([])
        elif self._section and tag == 'tr':
            self.tables[self._section][-1].append([])
        elif self._section and tag in ('td', 'th'):
            self.tables[self._section][-1][-1].append('')

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass
        if tag == 'section':
            self._section = None

    def handle_data(self, text):
        if 'script' in self._open:
            self.scripts[-1] += text
        elif 'title' in self._open and 'svg' not in self._open:
            self.title += text
        elif not self._section and 'li' in self._open:
            self.notes[-1] += text
        elif self._section and 'style' not in self._open:
            self.sections[self._section] += text
            if 'td' in self._open or 'th' in self._open:
                self.tables[self._section][-1][-1][-1] += text

    def rows(self, section):
        """Returns the rows of all tables of a section by their first entry; without the first entry."""
        return {row[0]: row[1:] for table in self.tables[section] for row in table}
