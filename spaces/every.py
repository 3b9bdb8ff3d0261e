"""Every architecture at once: which one is a choice, and each brings its own dimensions along."""

from hybridtune.spaces import basic, hybrid, shared, tcn, transformer
from hybridtune.spaces.parameters import Choice, Config, Dimension, Space

OWN = {"hybrid_lstm": hybrid.OWN, "basic_lstm": basic.OWN, "transformer": transformer.OWN, "tcn": tcn.OWN}


def _dimensions() -> dict[str, Dimension]:
    dimensions: dict[str, Dimension] = {"architecture": Choice(choices=tuple(OWN))}
    for own in OWN.values():
        for name, dimension in own.items():
            users = tuple(architecture for architecture, theirs in OWN.items() if name in theirs)
            assert all(OWN[user][name] == dimension for user in users)
            # One name is one dimension of the study, whichever architectures have it.
            when = {} if users == tuple(OWN) else {"architecture": users}
            dimensions[name] = dimension.model_copy(update={"when": when})
    return dimensions | dict(shared.TRAINING)


def _reference() -> Config:
    """The hybrid's where architectures differ."""
    reference: Config = {}
    for architecture in reversed(OWN):
        reference |= shared.defaults(architecture, {**OWN[architecture], **shared.TRAINING})
    return {"architecture": "hybrid_lstm"} | reference


ALL = Space(name="all", dimensions=_dimensions(), reference=_reference())
