"""Pages from the templates of a package."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: Any) -> str:
    """package: whose folder `templates` holds it. Raises jinja2.UndefinedError if the template uses a value that is not
    given.
    """
    return _environment(package).get_template(template).render(values)


@cache
def _environment(package: str) -> Environment:
    """Which keeps its templates compiled."""
    return Environment(loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined)
