"""What a schema allows inside an element, and making an element comply with it.

Nobody is helped by a document that one wrong word makes unreadable to strict watchers, nor by losing the rest of it
over that word: what has no place is left out, the least of it that will do, and everything else stays. White space
between elements goes, too, so that what differs in nothing else comes out the same. Documents have neither comments
nor processing instructions any more (`xml_reader`).
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lxml import etree

from vedette.documents.xml_copy import copy_below

XML_SPACE = " \t\r\n"
_XML = "{http://www.w3.org/XML/1998/namespace}"
_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"

Check = Callable[[str], str | None]
"""A text -> the same as the schema wants it; None where it cannot be."""


class Place(NamedTuple):
    """Where a child belongs."""

    rank: int
    """Children stand in the order of their ranks."""
    model: "Model"
    once: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The content of an element: text, where `text` is there, otherwise elements."""

    namespace: str = ""
    """Its schema's; elements of others are the extensions."""
    text: Check | None = None
    attributes: Mapping[str, Check] = field(default_factory=dict)
    any_attribute: bool = False
    needs_attributes: tuple[str, ...] = ()
    children: Mapping[str, Place] = field(default_factory=dict)
    """By the name of the child, with its namespace."""
    others: int | None = None
    """The rank of extensions; None: there may be none."""
    alone: frozenset[str] = frozenset()
    """Children of which there may be one, and beside it no other alternative."""
    alternatives: int | None = None
    """The rank of the children that are alternatives of those; None: there are none."""
    needs_alternative: bool = False
    needs: tuple[str, ...] = ()
    """Children without which the element means nothing."""
    makes: tuple[str, ...] = ()
    """Children that are put in, empty, where they are missing."""


class Schema:
    """A root element, and the elements that may stand anywhere below it; all others are not judged."""

    def __init__(
        self,
        root: Model,
        models: Mapping[str, Model | None],
        *,
        once: frozenset[str],
        attributes: Mapping[str, Check],
    ) -> None:
        """`models`: by name with namespace; None: nowhere. `once`: at most one in the same parent.

        `attributes`: those that may stand anywhere, too.
        """
        self._root = root
        self._models = models
        self._once = once
        self._attributes = attributes

    def mend(self, root: etree._Element) -> None:
        """Make a document comply."""
        self._mend(root, self._root)

    def _mend_extension(self, element: etree._Element) -> bool:
        """Make an element comply, whatever it is. False: it cannot, and has to go."""
        tag = str(element.tag)
        if tag in self._models:
            model = self._models[tag]
            return model is not None and self._mend(element, model)
        for key in element.keys():  # noqa: SIM118 - an element iterates over its children
            check = self._attributes.get(str(key))
            if check is not None:
                _mend_attribute(element, str(key), check)
        for child in element:
            if not self._mend_extension(child):
                _take_out(child)
        return True

    def _mend(self, element: etree._Element, model: Model) -> bool:
        if not _mend_attributes(element, model):
            return False
        if model.text is not None:
            return _mend_text(element, model.text)
        return self._mend_children(element, model)

    def _mend_children(self, element: etree._Element, model: Model) -> bool:
        if element.text:
            _word_becomes_element(element, model)
        kept = self._sift(element, model)
        if model.alternatives is not None:
            kept = _choose(element, model, kept)
            if model.needs_alternative and not any(rank == model.alternatives for rank, _ in kept):
                return False
        if model.needs or model.makes:
            there = {child.tag for _, child in kept}
            if not there.issuperset(model.needs):
                return False
            for name in model.makes:
                if name not in there:
                    kept.append((model.children[name].rank, etree.SubElement(element, name)))
        if len(kept) > 1 and any(left[0] > right[0] for left, right in itertools.pairwise(kept)):
            for _, child in sorted(kept, key=lambda item: item[0]):
                # written anew: lxml moves an element without looking at declarations that shadow one another
                copy_below(element, child)
                element.remove(child)
        return True

    def _sift(self, element: etree._Element, model: Model) -> list[tuple[int, etree._Element]]:
        """The children that stay, each with its rank; the others are gone."""
        seen: set[str] = set()
        kept: list[tuple[int, etree._Element]] = []
        for child in element:
            tag = str(child.tag)
            if child.tail:
                child.tail = None
            place = model.children.get(tag)
            if place is not None:
                rank, once, good = place.rank, place.once, self._mend(child, place.model)
            elif model.others is None or tag[0] != "{" or tag.startswith(model.namespace):
                rank, once, good = 0, False, False
            else:
                rank, once, good = model.others, tag in self._once, self._mend_extension(child)
            if not good or (once and tag in seen):
                element.remove(child)
                continue
            seen.add(tag)
            kept.append((rank, child))
        return kept


def _mend_attributes(element: etree._Element, model: Model) -> bool:
    for key in element.keys():  # noqa: SIM118 - an element iterates over its children
        name = str(key)
        check = model.attributes.get(name)
        if check is not None:
            _mend_attribute(element, name, check)
        elif name.startswith((_XML, _INSTANCE)) or not model.any_attribute:
            del element.attrib[name]
    return not model.needs_attributes or all(element.get(name) is not None for name in model.needs_attributes)


def _mend_attribute(element: etree._Element, name: str, check: Check) -> None:
    value = str(element.get(name, ""))
    wanted = check(value)
    if wanted is None:
        del element.attrib[name]
    elif wanted != value:
        element.set(name, wanted)


def _mend_text(element: etree._Element, check: Check) -> bool:
    text = element.text or ""
    if len(element):
        text += "".join(child.tail or "" for child in element)
        for child in list(element):
            element.remove(child)
        element.text = text or None
    wanted = check(text)
    if wanted is None:
        return False
    if wanted != text:
        element.text = wanted or None
    return True


def _word_becomes_element(element: etree._Element, model: Model) -> None:
    """Some phones write `<sphere>work</sphere>` and mean `<sphere><work/></sphere>`."""
    name = f"{model.namespace}{(element.text or '').strip().lower()}"
    element.text = None
    if len(element) == 0 and name in model.children:
        etree.SubElement(element, name)


def _choose(
    element: etree._Element, model: Model, kept: list[tuple[int, etree._Element]]
) -> list[tuple[int, etree._Element]]:
    members = [child for rank, child in kept if rank == model.alternatives]
    free = [child for child in members if child.tag not in model.alone]
    chosen = free or members[:1]
    for child in members:
        if child not in chosen:
            element.remove(child)
    return [(rank, child) for rank, child in kept if rank != model.alternatives or child in chosen]


def _take_out(child: etree._Element) -> None:
    """Remove an element and leave the text behind it where it is."""
    parent, before = child.getparent(), child.getprevious()
    if parent is None:
        return
    if child.tail and before is not None:
        before.tail = (before.tail or "") + child.tail
    elif child.tail:
        parent.text = (parent.text or "") + child.tail
    parent.remove(child)
