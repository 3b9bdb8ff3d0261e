"""Pages from the templates beside this file."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Raises jinja2.UndefinedError if the template uses a value that is not given."""
    environment = Environment(
        loader=PackageLoader("hybridtune.search.report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(values)
