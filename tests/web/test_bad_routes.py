"""Arguments of routes that can't be used are refused when the routes are made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from pgmoor import ConnectionManager, aiohttp, fastapi, starlette

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "postgresql://app:s3cret@db1/orders"


@pytest.mark.parametrize("given", ["false", 1, None])
@pytest.mark.parametrize(
    "make",
    [
        lambda given: starlette.health_routes(details=given),
        lambda given: starlette.status_routes(allow=given),
        lambda given: fastapi.health_router(details=given),
        lambda given: aiohttp.setup(web.Application(), ConnectionManager(), details=given),
        lambda given: aiohttp.add_status_page(web.Application(), ConnectionManager(), allow=given),
    ],
)
def test_only_a_bool_or_a_function_says_who_may_see_details(
    make: Callable[[Any], object], given: object
) -> None:
    with pytest.raises(TypeError, match="give True, False or a function of the request"):
        make(given)


@pytest.mark.parametrize("given", [ADDRESS, 5])
@pytest.mark.parametrize(
    "make",
    [
        starlette.health_routes,
        lambda given: starlette.status_routes(given, allow=True),
        fastapi.health_router,
        lambda given: fastapi.status_router(given, dependencies=[None]),
        fastapi.lend,
        lambda given: aiohttp.add_status_page(web.Application(), given, allow=True),
    ],
)
def test_what_is_neither_a_manager_nor_its_name_is_refused_and_not_shown(
    make: Callable[[Any], object], given: object
) -> None:
    with pytest.raises(TypeError, match="needs a ConnectionManager") as caught:
        make(given)
    assert "s3cret" not in str(caught.value)


def test_a_name_that_may_be_a_secret_is_not_quoted() -> None:
    request: Any = SimpleNamespace(
        state=SimpleNamespace(**{starlette.STATE: {"orders": ConnectionManager()}})
    )
    for given, shown in (("reports", "'reports'"), ("host=db1 password=s3cret", "that;")):
        with pytest.raises(LookupError, match="no manager is named") as caught:
            starlette.manager_of(request, given)
        assert shown in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_handler_of_an_application_without_setup_is_told_so() -> None:
    request: Any = SimpleNamespace(config_dict={})
    with pytest.raises(RuntimeError, match=r"no setup\(app, manager\)"):
        aiohttp.connection(request)
