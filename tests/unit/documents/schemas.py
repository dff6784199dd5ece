"""The schemas of the documents we write, as an oracle, read where other people's files lie."""

from functools import cache
from typing import Any

from lxml import etree

from tests.vectors import FOLDER

_SCHEMAS = FOLDER / "schema" / "AGProjects_python-sipsimple"

_COMMON = b"""
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" elementFormDefault="qualified">
  <xs:import namespace="http://www.w3.org/XML/1998/namespace"/>
  <xs:simpleType name="Timestamp_t"><xs:restriction base="xs:dateTime"/></xs:simpleType>
  <xs:simpleType name="deviceID_t"><xs:restriction base="xs:anyURI"/></xs:simpleType>
  <xs:complexType name="Note_t">
    <xs:simpleContent><xs:extension base="xs:string"><xs:attribute ref="xml:lang"/></xs:extension></xs:simpleContent>
  </xs:complexType>
  <xs:attributeGroup name="fromUntil">
    <xs:attribute name="from" type="xs:dateTime"/><xs:attribute name="until" type="xs:dateTime"/>
  </xs:attributeGroup>
  <xs:complexType name="empty"/>
</xs:schema>
"""
"""What the data model and RPID both include; no source ships that file, so the few types are written here."""

_ALL = b"""
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:import namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="xml.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf" schemaLocation="pidf.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf:data-model" schemaLocation="data-model.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf:rpid" schemaLocation="rpid.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf:cipid" schemaLocation="cipid.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf:caps" schemaLocation="caps.xsd"/>
  <xs:import namespace="urn:ietf:params:xml:ns:pidf:timed-status" schemaLocation="timed-status.xsd"/>
</xs:schema>
"""


_WRITTEN_HERE = {"common-schema.xsd": _COMMON}
_WHERE = {"timed-status.xsd": FOLDER / "schema" / "DoubangoTelecom_doubango" / "timed-status.xml"}


class _Resolver(etree.Resolver):
    def resolve(self, system_url: str, public_id: str, context: Any = None) -> Any:
        name = system_url.rpartition("/")[2]
        data = _WRITTEN_HERE[name] if name in _WRITTEN_HERE else _WHERE.get(name, _SCHEMAS / name).read_bytes()
        base: Any = self
        return base.resolve_string(data, context, base_url=system_url)


@cache
def _schema(source: bytes) -> etree.XMLSchema:
    parser = etree.XMLParser()
    parser.resolvers.add(_Resolver())
    return etree.XMLSchema(etree.fromstring(source, parser))


def declared_names(schema: str) -> list[str]:
    """The names of all elements that a schema knows, wherever they stand; [] where the schema is not there."""
    path = _WHERE.get(f"{schema}.xsd", _SCHEMAS / f"{schema}.xsd")
    if not path.exists():
        return []
    found = etree.parse(path).iter("{http://www.w3.org/2001/XMLSchema}element")
    return sorted({str(element.get("name")) for element in found if element.get("name")})


def faults(document: bytes) -> list[str]:
    """What the schemas say against a presence document; [] where it is valid."""
    return _faults(_schema(_ALL), document)


def watcherinfo_faults(document: bytes) -> list[str]:
    """What the schema of RFC 3858 says against a document; [] where it is valid."""
    return _faults(_schema((_SCHEMAS / "watcherinfo.xsd").read_bytes()), document)


def dialog_info_faults(document: bytes) -> list[str]:
    """What the schema of RFC 4235 says against a document; [] where it is valid."""
    return _faults(_schema((_SCHEMAS / "dialog-info.xsd").read_bytes()), document)


def _faults(schema: etree.XMLSchema, document: bytes) -> list[str]:
    schema.validate(etree.fromstring(document))
    log: Any = schema.error_log
    return [entry.message for entry in log]
