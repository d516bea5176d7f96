"""Reads the XML that descriptions of TIFF files hold."""

from xml.etree import ElementTree

from mmcell.images.limits import LIMITS


def read_xml(xml: str) -> ElementTree.Element | None:
    """Parses XML; returns None if it is damaged, larger than ``LIMITS.xml_bytes``, or defines entities."""
    if len(xml) > LIMITS.xml_bytes or '<!DOCTYPE' in xml or '<!ENTITY' in xml:
        return None
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError, RecursionError):
        return None
