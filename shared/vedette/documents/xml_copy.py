"""Copying elements from one document into another, so that no declaration of the first can change the second."""

from lxml import etree


def copy_below(parent: etree._Element, published: etree._Element) -> etree._Element:
    """The element written anew as the last child of `parent`, each name with the prefix of its namespace there.

    Comments are left out, and elements of no namespace: the schemas have no place for them, and below a default
    namespace they would be taken for elements of the document itself.
    """
    nsmap = {published.prefix: namespace(published)} if published.prefix else None
    copy = etree.SubElement(
        parent, published.tag, {str(name): str(value) for name, value in published.attrib.items()}, nsmap
    )
    copy.text = published.text
    last: etree._Element | None = None
    for node in published:
        tag: object = node.tag
        if isinstance(tag, str) and namespace(node):
            last = copy_below(copy, node)
            last.tail = node.tail
        elif node.tail and last is not None:
            last.tail = (last.tail or "") + node.tail
        elif node.tail:
            copy.text = (copy.text or "") + node.tail
    return copy


def namespace(element: etree._Element) -> str:
    """The namespace of an element's name, "" where it has none."""
    tag = str(element.tag)
    return tag[1 : tag.rindex("}")] if tag.startswith("{") else ""
