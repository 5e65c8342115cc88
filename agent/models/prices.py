"""What a reply cost, by the price list that genai-prices ships. Slow to import, so only front ends that show it do."""

from dataclasses import replace
from functools import cache

from agent.config import ModelChoice
from agent.messages import Usage
from agent.models import catalog

_PROVIDER_IDS = {
    # Our name → the price list's.
    **{name: name for name in ("anthropic", "deepseek", "groq", "mistral", "openai", "openrouter", "together")},
    "gemini": "google",
    "xai": "x-ai",
}


def priced(usage: Usage, choice: ModelChoice) -> Usage:
    """The usage with its cost in US dollars, or as it was where no price is known (local and custom endpoints)."""
    provider = _PROVIDER_IDS.get(choice.provider)
    if provider is None or usage.cost is not None:
        return usage
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
    )
    try:
        price = genai_prices.calc_price(tokens, model_ref=choice.model, provider_id=provider)
    except (LookupError, ValueError):
        return usage
    return replace(usage, cost=float(price.total_price))


def known(choice: ModelChoice) -> bool:
    """Whether it will be known what a reply costs: the list has the model, or it costs nothing."""
    return catalog.costs_nothing(choice) or priced(Usage(1, 1), choice).cost is not None


def window(choice: ModelChoice) -> int:
    """Tokens that fit the model's window, as the price list has it; 0 when it has not."""
    provider = _PROVIDER_IDS.get(choice.provider)
    return _window(provider, choice.model) if provider else 0


@cache
def _window(provider: str, name: str) -> int:
    from genai_prices import data_snapshot

    try:
        _provider, model = data_snapshot.get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return 0
    return model.context_window or 0


def load() -> None:
    """Import the price list now, where nobody waits for it."""
    import genai_prices  # noqa: F401
