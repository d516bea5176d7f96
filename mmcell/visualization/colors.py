"""Class colours that people with colour-vision deficiencies can tell apart."""

# RGB colours of Okabe & Ito, "Color Universal Design" (2008). Black is left out, and the colours that stand out from
# pink and purple tissue come first.
_OKABE_ITO = [(0, 158, 115), (240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 114, 178), (230, 159, 0),
              (204, 121, 167)]


def class_colors(n_classes: int) -> list[tuple[int, int, int]]:
    """Returns one RGB colour per class, each value 0–255; the colours repeat after seven classes."""
    return [_OKABE_ITO[i % len(_OKABE_ITO)] for i in range(n_classes)]
