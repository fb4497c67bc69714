"""The dashboard in a real Chromium, served by a real gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from disrouter.agents.openai_compatible import OpenAICompatibleAgent
from disrouter.gateway.store_keys import create_key
from disrouter.gateway.store_reading import Wanted, kept_routes
from gateway.browser import CHROMIUM, Browser, Page, chromium
from gateway.mock_backend import MockBackend
from gateway.recorded_routes import control_in, controlled
from gateway.running import Running, behind

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here (apt-get install chromium)"),
    pytest.mark.asyncio(loop_scope="module"),
]

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> and <script>document.title='taken'</script>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


def agents_at(backend: MockBackend) -> list[OpenAICompatibleAgent]:
    """Two agents of one server: the small one is known by its rejections, the large one answers."""
    return [
        behind("small", backend.url, 0.1, self_assessment="text"),
        behind("large", backend.url, 0.9, self_assessment="none"),
    ]


def reply(body: dict[str, object]) -> str:
    return "I don't know" if body["model"] == "model-of-small" else f"The answer: {HOSTILE}"


async def ask_in_page(page: Page, text: str) -> None:
    await page.value(f"document.getElementById('query').value = {json.dumps(text)}")
    await page.value("document.getElementById('ask').requestSubmit()")


async def seen_from_here(page: Page, one: Running) -> None:
    """Nothing went wrong in the page, and nobody else was asked for anything."""
    assert page.problems == []
    assert {url.startswith(one.url) for url in page.requested} == {True}
    assert await page.value("document.title") == "DiSRouter"


async def test_a_query_is_asked_watched_rated_and_found_again(tmp_path: Path, browser: Browser) -> None:
    control = control_in(tmp_path)
    async with (
        MockBackend(reply=reply) as backend,
        controlled(control, *agents_at(backend)) as one,
        browser.page() as page,
    ):
        await page.open(one.url)
        await page.until("document.querySelectorAll('.node').length === 2")
        assert await page.value("document.getElementById('network-name').textContent") == "test"
        assert await page.value("document.querySelectorAll('.edge').length") == 2  # in, and from small to large

        await ask_in_page(page, "What is 2 + 2?")
        await page.until("document.querySelectorAll('#way .hop').length === 2")

        hops = await page.value("[...document.querySelectorAll('#way .hop')].map(h => h.className)")
        assert hops == ["hop reject", "hop answer"]
        assert HOSTILE in await page.value("document.getElementById('answer').textContent")  # as text, and no more
        await page.value("document.querySelector('[data-thumb=up]').click()")
        await page.until("document.querySelector('[data-thumb=up]').getAttribute('aria-pressed') === 'true'")
        (kept,) = await asyncio.to_thread(kept_routes, control.store, Wanted(rated=True))
        assert (kept.score, kept.route.agent, kept.route.prompt) == (1.0, "large", None)

        await page.until("document.querySelectorAll('.trace').length === 1")
        await page.value("document.querySelector('.trace summary').click()")
        await page.until("document.querySelectorAll('.detail .hop').length === 2")
        assert kept.route.trace_id in await page.value("document.querySelector('.detail').textContent")
        await page.until("document.querySelector('#tiles .value').textContent === '1'")
        await page.until("document.querySelector('#cost svg') && document.querySelector('#latency svg')")
        await page.until("document.querySelectorAll('#agents tbody tr').length === 2")
        await seen_from_here(page, one)


async def test_the_scenario_and_alpha_of_the_playground_reach_the_network(tmp_path: Path, browser: Browser) -> None:
    control = control_in(tmp_path)
    async with (
        MockBackend(reply=reply) as backend,
        controlled(control, *agents_at(backend)) as one,
        browser.page() as page,
    ):
        await page.open(one.url)
        await page.until("document.querySelectorAll('#scenarios button').length === 3")
        await page.value("document.querySelectorAll('#scenarios button')[2].click()")
        assert await page.value("document.getElementById('alpha').value") == "0.8"
        await ask_in_page(page, "one")
        await page.until("document.querySelectorAll('.trace').length === 1")
        await page.value(
            "const a = document.getElementById('alpha'); a.value = 0.35; a.dispatchEvent(new Event('input'))"
        )
        await ask_in_page(page, "two")
        await page.until("document.querySelectorAll('.trace').length === 2")

        routes = await asyncio.to_thread(kept_routes, control.store)

        assert [(kept.route.scenario, kept.route.alpha) for kept in routes] == [
            ("alpha=0.35", 0.35),
            ("cost-first", 0.8),
        ]
        await seen_from_here(page, one)


async def test_with_keys_in_use_the_page_asks_for_one_and_shows_its_traffic(tmp_path: Path, browser: Browser) -> None:
    control = control_in(tmp_path)
    secret, _ = create_key(control.store, "alice")
    async with (
        MockBackend(reply=reply) as backend,
        controlled(control, *agents_at(backend)) as one,
        browser.page() as page,
    ):
        await page.open(one.url)
        await page.until("document.getElementById('login').open")
        assert await page.value("document.querySelectorAll('.node').length") == 0  # nothing is shown before

        for given in ("sk-dis-wrong", secret):
            await page.value(f"document.getElementById('login-key').value = {json.dumps(given)}")
            await page.value("document.querySelector('#login-form button').click()")
            if given == secret:
                await page.until("document.querySelectorAll('.node').length === 2")
            else:
                await page.until("document.getElementById('login-error').textContent !== ''")
        assert await page.value("document.getElementById('network-note').textContent") == "traffic of this key only"
        await ask_in_page(page, "What is 2 + 2?")
        await page.until("document.querySelectorAll('#way .hop').length === 2")

        assert secret not in await page.value("document.documentElement.outerHTML + location.href + document.cookie")
        assert await page.value("localStorage.length") == 0
        assert all(problem.startswith("Failed to load resource") and "401" in problem for problem in page.problems)


async def test_a_gateway_that_fails_or_goes_is_told_in_the_page(tmp_path: Path, browser: Browser) -> None:
    control = control_in(tmp_path)
    async with MockBackend(fault="500") as backend, browser.page() as page:
        async with controlled(control, behind("only", backend.url, self_assessment="none")) as one:
            await page.open(one.url)
            await page.until("document.querySelectorAll('.node').length === 1")
            await ask_in_page(page, "?")
            await page.until("document.getElementById('play-note').textContent.includes('only')")
            await page.until("document.querySelector('.trace .chip.failure')")
        await page.until("document.getElementById('pulse-text').textContent === 'gateway not reached'")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
async def test_the_page_fits_its_window_in_light_and_dark(
    tmp_path: Path, browser: Browser, width: int, dark: bool
) -> None:
    control = control_in(tmp_path)
    async with (
        MockBackend(reply=reply) as backend,
        controlled(control, *agents_at(backend)) as one,
        browser.page() as page,
    ):
        await page.open(one.url, width=width, height=844, dark=dark)
        await page.until("document.querySelectorAll('.node').length === 2")
        await ask_in_page(page, "x" * 500)
        await page.until("document.querySelectorAll('.trace').length === 1")

        assert await page.value("document.documentElement.scrollWidth") == width
        assert await page.value("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        light = await page.value("getComputedStyle(document.documentElement).backgroundColor")
        await page.value("document.getElementById('theme').click()")
        assert await page.value("getComputedStyle(document.documentElement).backgroundColor") != light
        await seen_from_here(page, one)
