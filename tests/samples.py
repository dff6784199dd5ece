"""What `/metrics` of several processes says, together."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read_samples(texts: Iterable[str]) -> Samples:
    """The samples, the same ones of several processes added up."""
    found: Samples = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                found[key] = found.get(key, 0.0) + sample.value
    return found


def value(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels; 0 where there are none."""
    wanted = set(labels.items())
    return sum(number for (of, has), number in samples.items() if of == name and wanted <= has)


def names(texts: Sequence[str]) -> set[str]:
    """The names of the families."""
    return {family.name for text in texts for family in text_string_to_metric_families(text)}
