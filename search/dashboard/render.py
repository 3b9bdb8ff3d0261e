"""Pages from the templates of a package."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: Any) -> str:
    """package: whose folder `templates` holds it. Raises jinja2.UndefinedError if the template uses a value that is not
    given.
    """
    environment = Environment(loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values)
