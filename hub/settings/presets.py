"""Ready settings for providers that people name: `preset = "azure"`.

Each row is what a user would write into the upstream's table, from the provider's documentation.
Settings of the user override it; `headers`, `body`, `rename` and `roles` are merged by name. Where
`base_url` is the user's own, `EXAMPLES` has its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

PresetName = Literal[
    "anthropic", "azure", "bedrock", "cloudflare", "dashscope", "deepseek", "gemini", "groq",
    "litellm", "llama-cpp", "lm-studio", "mistral", "moonshot", "nim", "ollama", "openai",
    "openrouter", "perplexity", "sglang", "tgi", "together", "vllm", "xinference",
]  # fmt: skip

# The servers ignore `max_completion_tokens` or refuse it; `developer` is a role of OpenAI alone.
_OLDER_NAMES: Final = {
    "rename": {"max_completion_tokens": "max_tokens"},
    "roles": {"developer": "system"},
}
_SYSTEM_ROLE: Final = {"roles": {"developer": "system"}}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    # Providers in the cloud
    "anthropic": {"kind": "anthropic", "base_url": "https://api.anthropic.com/v1"},
    "azure": {"api_key_header": "api-key"},
    "bedrock": {**_SYSTEM_ROLE},
    "cloudflare": {**_OLDER_NAMES},
    "dashscope": {"base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1", **_OLDER_NAMES},
    "deepseek": {"base_url": "https://api.deepseek.com", **_OLDER_NAMES},
    "gemini": {
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
        "omit": ["store", "metadata", "seed", "frequency_penalty", "presence_penalty", "logit_bias",
                 "user", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"],
        **_SYSTEM_ROLE,
    },
    "groq": {
        "base_url": "https://api.groq.com/openai/v1",
        "omit": ["logprobs", "top_logprobs", "logit_bias", "messages.*.name"],
        **_SYSTEM_ROLE,
    },
    "mistral": {
        "base_url": "https://api.mistral.ai/v1",
        "omit": ["stream_options", "store", "user", "logit_bias", "logprobs", "top_logprobs",
                 "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"],
        "rename": {"max_completion_tokens": "max_tokens", "seed": "random_seed"},
        "roles": {"developer": "system"},
    },
    "moonshot": {"base_url": "https://api.moonshot.ai/v1", **_SYSTEM_ROLE},
    "openai": {"base_url": "https://api.openai.com/v1"},
    "openrouter": {"base_url": "https://openrouter.ai/api/v1"},
    "perplexity": {  # its chat completions ended in September 2026
        "kind": "openai-responses",
        "base_url": "https://api.perplexity.ai/v1",
        "omit": ["store"],
    },
    "together": {"base_url": "https://api.together.xyz/v1", **_OLDER_NAMES},
    # Servers of your own, at their usual ports
    "litellm": {"base_url": "http://127.0.0.1:4000/v1"},
    "llama-cpp": {"base_url": "http://127.0.0.1:8080/v1", **_SYSTEM_ROLE},
    "lm-studio": {"base_url": "http://127.0.0.1:1234/v1", **_OLDER_NAMES},
    "nim": {"base_url": "http://127.0.0.1:8000/v1", **_SYSTEM_ROLE},
    "ollama": {"kind": "ollama", "base_url": "http://127.0.0.1:11434"},
    "sglang": {"base_url": "http://127.0.0.1:30000/v1", **_SYSTEM_ROLE},
    "tgi": {"base_url": "http://127.0.0.1:8080/v1", **_OLDER_NAMES},
    "vllm": {
        "base_url": "http://127.0.0.1:8000/v1",
        "body": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        **_SYSTEM_ROLE,
    },
    "xinference": {"base_url": "http://127.0.0.1:9997/v1", **_OLDER_NAMES},
}  # fmt: skip

EXAMPLES: Final[Mapping[str, str]] = {
    "azure": "https://YOUR-RESOURCE.openai.azure.com/openai/v1",
    "bedrock": "https://bedrock-mantle.us-east-1.api.aws/v1",
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/YOUR-ACCOUNT/ai/v1",
}

_BY_LETTERS: Final = {name.replace("-", ""): name for name in PRESETS}


def apply_preset(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the upstream's table with the values of its preset below the user's own.

    The name of a preset is found in any spelling (`llama.cpp`). An unknown one is left to the check
    of the value. Raise ValueError if `base_url` is missing.
    """
    letters = re.sub(r"[^a-z0-9]", "", str(table.get("preset")).lower())
    name = _BY_LETTERS.get(letters)
    if name is None:
        return dict(table)
    preset = PRESETS[name]
    if "base_url" not in table and "base_url" not in preset:
        raise ValueError(f"the preset {name} needs base_url, such as {EXAMPLES[name]}")
    merged = {**preset, **table, "preset": name}
    for key, value in preset.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), Mapping):
            merged[key] = {**value, **table[key]}
    return merged
