"""What calls cost, written out: tokens times nano-dollars, part by part.

Each is a provider and model, how it was served, what it used, and what that costs on 9 November 2026. The rates are
those that genai-prices 0.2.3 lists for that day; a script wrote the sums out, and each was then gone through by hand:
which part of a call is charged at which rate, tiers, ways of service, rounding. They hold our arithmetic to account,
and not whether the list is right. The usual rates of Claude Opus 5, 4.8 and 4.1, Sonnet 4.5 (up to 200,000 tokens),
Haiku 4.5 and 3.5 were compared with the provider's page too (platform.claude.com/docs/en/about-claude/pricing).
"""

from quotaware.core.usage import Usage

COSTS: list[tuple[str, str, Usage, int | float]] = [
    ("openai gpt-4.1", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai gpt-4.1", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 2_000 + 4_000 * 8_000),
    ("openai gpt-4.1", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 * 500 + 300
     * 8_000),
    ("openai gpt-4.1-mini", "", Usage(input=1_000, output=500), 1_000 * 400 + 500 * 1_600),
    ("openai gpt-4.1-mini", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 400 + 4_000 * 1_600),
    ("openai gpt-4.1-mini", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 400 + 8_000 * 100 +
     300 * 1_600),
    ("openai gpt-4.1-nano", "", Usage(input=1_000, output=500), 1_000 * 100 + 500 * 400),
    ("openai gpt-4.1-nano", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 100 + 4_000 * 400),
    ("openai gpt-4.1-nano", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 100 + 8_000 * 25 +
     300 * 400),
    ("openai gpt-4o", "", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 10_000),
    ("openai gpt-4o", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 2_500 + 4_000 * 10_000),
    ("openai gpt-4o", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_500 + 8_000 * 1_250 + 300
     * 10_000),
    ("openai gpt-4o-mini", "", Usage(input=1_000, output=500), 1_000 * 150 + 500 * 600),
    ("openai gpt-4o-mini", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 150 + 4_000 * 600),
    ("openai gpt-4o-mini", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 150 + 8_000 * 75 + 300
     * 600),
    ("openai gpt-5", "", Usage(input=1_000, output=500), 1_000 * 1_250 + 500 * 10_000),
    ("openai gpt-5", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 1_250 + 4_000 * 10_000),
    ("openai gpt-5", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_250 + 8_000 * 125 + 300 *
     10_000),
    ("openai gpt-5-mini", "", Usage(input=1_000, output=500), 1_000 * 250 + 500 * 2_000),
    ("openai gpt-5-mini", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 250 + 4_000 * 2_000),
    ("openai gpt-5-mini", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 250 + 8_000 * 25 + 300
     * 2_000),
    ("openai gpt-5-nano", "", Usage(input=1_000, output=500), 1_000 * 50 + 500 * 400),
    ("openai gpt-5-nano", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 50 + 4_000 * 400),
    ("openai gpt-5-nano", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 50 + 8_000 * 5 + 300 *
     400),
    ("openai gpt-5.1", "", Usage(input=1_000, output=500), 1_000 * 1_250 + 500 * 10_000),
    ("openai gpt-5.1", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 1_250 + 4_000 * 10_000),
    ("openai gpt-5.1", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_250 + 8_000 * 125 + 300
     * 10_000),
    ("openai o3", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai o3", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 2_000 + 4_000 * 8_000),
    ("openai o3", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 * 500 + 300 *
     8_000),
    ("openai o4-mini", "", Usage(input=1_000, output=500), 1_000 * 1_100 + 500 * 4_400),
    ("openai o4-mini", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 1_100 + 4_000 * 4_400),
    ("openai o4-mini", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_100 + 8_000 * 275 + 300
     * 4_400),
    ("openai gpt-5-pro", "", Usage(input=1_000, output=500), 1_000 * 15_000 + 500 * 120_000),
    ("openai gpt-4", "", Usage(input=1_000, output=500), 1_000 * 30_000 + 500 * 60_000),
    ("openai gpt-3.5-turbo", "", Usage(input=1_000, output=500), 1_000 * 500 + 500 * 1_500),
    ("openai gpt-5", "flex", Usage(input=1_000, output=500), 1_000 * 625 + 500 * 5_000),
    ("openai gpt-5", "flex", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 625 + 8_000 * 62.5 + 300
     * 5_000),
    ("openai gpt-5", "priority", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 20_000),
    ("openai gpt-5", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_500 + 8_000 * 250
     + 300 * 20_000),
    ("openai gpt-5", "tier fast", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 20_000),
    ("openai gpt-5", "tier fast", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_500 + 8_000 * 250
     + 300 * 20_000),
    ("openai gpt-5", "batch", Usage(input=1_000, output=500), 1_000 * 625 + 500 * 5_000),
    ("openai gpt-5", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 625 + 8_000 * 62.5 +
     300 * 5_000),
    ("openai gpt-5-mini", "flex", Usage(input=1_000, output=500), 1_000 * 125 + 500 * 1_000),
    ("openai gpt-5-mini", "flex", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 125 + 8_000 * 12.5
     + 300 * 1_000),
    ("openai gpt-5-mini", "priority", Usage(input=1_000, output=500), 1_000 * 450 + 500 * 3_600),
    ("openai gpt-5-mini", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 450 + 8_000 *
     45 + 300 * 3_600),
    ("openai gpt-5-nano", "flex", Usage(input=1_000, output=500), 1_000 * 25 + 500 * 200),
    ("openai gpt-5-nano", "flex", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 25 + 8_000 * 2.5 +
     300 * 200),
    ("openai o3", "flex", Usage(input=1_000, output=500), 1_000 * 1_000 + 500 * 4_000),
    ("openai o3", "flex", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_000 + 8_000 * 250 + 300 *
     4_000),
    ("openai o3", "priority", Usage(input=1_000, output=500), 1_000 * 3_500 + 500 * 14_000),
    ("openai o3", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 3_500 + 8_000 * 875 +
     300 * 14_000),
    ("openai o4-mini", "flex", Usage(input=1_000, output=500), 1_000 * 550 + 500 * 2_200),
    ("openai o4-mini", "flex", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 550 + 8_000 * 138 +
     300 * 2_200),
    ("openai o4-mini", "priority", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai o4-mini", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 *
     500 + 300 * 8_000),
    ("openai gpt-4o", "priority", Usage(input=1_000, output=500), 1_000 * 4_250 + 500 * 17_000),
    ("openai gpt-4o", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 4_250 + 8_000 *
     2_125 + 300 * 17_000),
    ("openai gpt-4.1", "priority", Usage(input=1_000, output=500), 1_000 * 3_500 + 500 * 14_000),
    ("openai gpt-4.1", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 3_500 + 8_000 *
     875 + 300 * 14_000),
    ("openai gpt-4.1-mini", "priority", Usage(input=1_000, output=500), 1_000 * 700 + 500 * 2_800),
    ("openai gpt-4.1-mini", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 700 + 8_000 *
     175 + 300 * 2_800),
    ("openai gpt-4.1", "batch", Usage(input=1_000, output=500), 1_000 * 1_000 + 500 * 4_000),
    ("openai gpt-4.1", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_000 + 8_000 * 500 +
     300 * 4_000),
    ("openai gpt-4o-mini", "batch", Usage(input=1_000, output=500), 1_000 * 75 + 500 * 300),
    ("openai gpt-4o-mini", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 75 + 8_000 * 75 +
     300 * 300),
    ("openai o3", "batch", Usage(input=1_000, output=500), 1_000 * 1_000 + 500 * 4_000),
    ("openai o3", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_000 + 8_000 * 500 + 300
     * 4_000),
    ("openai gpt-4.1", "flex", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai gpt-4.1", "scale", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai gpt-4.1", "default", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openai gpt-5.4", "", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 15_000),
    ("openai gpt-5.4", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_500 + 8_000 * 250 + 300
     * 15_000),
    ("openai gpt-5.4", "", Usage(input=272_000, output=100), 272_000 * 2_500 + 100 * 15_000),
    ("openai gpt-5.4", "", Usage(input=272_001, output=100), 272_001 * 5_000 + 100 * 22_500),
    ("openai gpt-5.4", "", Usage(input=282_000, output=300, cache_read=8_000), 274_000 * 5_000 + 8_000 * 500 +
     300 * 22_500),
    ("openai gpt-5.5", "", Usage(input=1_000, output=500), 1_000 * 5_000 + 500 * 30_000),
    ("openai gpt-5.5", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 5_000 + 8_000 * 500 + 300
     * 30_000),
    ("openai gpt-5.5", "", Usage(input=272_000, output=100), 272_000 * 5_000 + 100 * 30_000),
    ("openai gpt-5.5", "", Usage(input=272_001, output=100), 272_001 * 10_000 + 100 * 45_000),
    ("openai gpt-5.5", "", Usage(input=282_000, output=300, cache_read=8_000), 274_000 * 10_000 + 8_000 * 1_000
     + 300 * 45_000),
    ("google gemini-2.5-pro", "", Usage(input=1_000, output=500), 1_000 * 1_250 + 500 * 10_000),
    ("google gemini-2.5-pro", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_250 + 8_000 * 125
     + 300 * 10_000),
    ("google gemini-2.5-pro", "", Usage(input=200_000, output=100), 200_000 * 1_250 + 100 * 10_000),
    ("google gemini-2.5-pro", "", Usage(input=200_001, output=100), 200_001 * 2_500 + 100 * 15_000),
    ("google gemini-2.5-pro", "", Usage(input=210_000, output=300, cache_read=8_000), 202_000 * 2_500 + 8_000 *
     250 + 300 * 15_000),
    ("google gemini-3.1-pro-preview", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 12_000),
    ("google gemini-3.1-pro-preview", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 +
     8_000 * 200 + 300 * 12_000),
    ("google gemini-3.1-pro-preview", "", Usage(input=200_000, output=100), 200_000 * 2_000 + 100 * 12_000),
    ("google gemini-3.1-pro-preview", "", Usage(input=200_001, output=100), 200_001 * 4_000 + 100 * 18_000),
    ("google gemini-3.1-pro-preview", "", Usage(input=210_000, output=300, cache_read=8_000), 202_000 * 4_000 +
     8_000 * 400 + 300 * 18_000),
    ("openai gpt-5.4", "flex", Usage(input=272_000, output=100, cache_read=72_000), 200_000 * 1_250 + 72_000 *
     130 + 100 * 7_500),
    ("openai gpt-5.4", "flex", Usage(input=272_001, output=100, cache_read=72_000), 200_001 * 2_500 + 72_000 *
     250 + 100 * 11_250),
    ("openai gpt-5.4", "priority", Usage(input=300_000, output=100), 300_000 * 5_000 + 100 * 30_000),
    ("openai gpt-5.4", "batch", Usage(input=300_000, output=100), 300_000 * 2_500 + 100 * 11_250),
    ("openai gpt-6-sol", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 10_000),
    ("openai gpt-6-sol", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 * 2_000
     + 4_000 * 2_500 + 2_000 * 200 + 250 * 10_000),
    ("openai gpt-6.1-sol", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 10_000),
    ("openai gpt-6.1-sol", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 *
     2_000 + 4_000 * 2_500 + 2_000 * 100 + 250 * 10_000),
    ("openai gpt-6-luna", "", Usage(input=1_000, output=500), 1_000 * 100 + 500 * 500),
    ("openai gpt-6-luna", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 * 100 +
     4_000 * 125 + 2_000 * 10 + 250 * 500),
    ("openai gpt-6-sol", "flex", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 *
     1_000 + 4_000 * 1_250 + 2_000 * 100 + 250 * 5_000),
    ("openai gpt-6-sol", "priority", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000
     * 4_000 + 4_000 * 5_000 + 2_000 * 400 + 250 * 20_000),
    ("openai gpt-6-sol", "batch", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 *
     1_000 + 4_000 * 1_250 + 2_000 * 100 + 250 * 5_000),
    ("openai gpt-6-sol", "", Usage(input=281_000, output=250, cache_read=2_000, cache_write=4_000), 275_000 *
     4_000 + 4_000 * 5_000 + 2_000 * 400 + 250 * 15_000),
    ("openai gpt-6-sol", "flex", Usage(input=281_000, output=250, cache_read=2_000, cache_write=4_000), 275_000
     * 2_000 + 4_000 * 2_500 + 2_000 * 200 + 250 * 7_500),
    ("anthropic claude-opus-5", "", Usage(input=1_000, output=500), 1_000 * 5_000 + 500 * 25_000),
    ("anthropic claude-opus-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000 *
     5_000 + 4_000 * 6_250 + 2_000 * 500 + 250 * 25_000),
    ("anthropic claude-opus-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 5_000 + 6_000 * 10_000 + 4_000 * 6_250 + 5_000 * 500 + 800 * 25_000),
    ("anthropic claude-opus-5-5", "", Usage(input=1_000, output=500), 1_000 * 4_000 + 500 * 20_000),
    ("anthropic claude-opus-5-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000
     * 4_000 + 4_000 * 5_000 + 2_000 * 200 + 250 * 20_000),
    ("anthropic claude-opus-5-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 4_000 + 6_000 * 8_000 + 4_000 * 5_000 + 5_000 * 200 + 800 * 20_000),
    ("anthropic claude-opus-4-8", "", Usage(input=1_000, output=500), 1_000 * 5_000 + 500 * 25_000),
    ("anthropic claude-opus-4-8", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000
     * 5_000 + 4_000 * 6_250 + 2_000 * 500 + 250 * 25_000),
    ("anthropic claude-opus-4-8", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 5_000 + 6_000 * 10_000 + 4_000 * 6_250 + 5_000 * 500 + 800 * 25_000),
    ("anthropic claude-opus-4-1", "", Usage(input=1_000, output=500), 1_000 * 15_000 + 500 * 75_000),
    ("anthropic claude-opus-4-1", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000
     * 15_000 + 4_000 * 18_750 + 2_000 * 1_500 + 250 * 75_000),
    ("anthropic claude-opus-4-1", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 15_000 + 6_000 * 30_000 + 4_000 * 18_750 + 5_000 * 1_500 + 800 * 75_000),
    ("anthropic claude-sonnet-5", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 10_000),
    ("anthropic claude-sonnet-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000), 3_000
     * 2_000 + 4_000 * 2_500 + 2_000 * 200 + 250 * 10_000),
    ("anthropic claude-sonnet-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 2_000 + 6_000 * 4_000 + 4_000 * 2_500 + 5_000 * 200 + 800 * 10_000),
    ("anthropic claude-sonnet-4-5", "", Usage(input=1_000, output=500), 1_000 * 3_000 + 500 * 15_000),
    ("anthropic claude-sonnet-4-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000),
     3_000 * 3_000 + 4_000 * 3_750 + 2_000 * 300 + 250 * 15_000),
    ("anthropic claude-sonnet-4-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 3_000 + 6_000 * 6_000 + 4_000 * 3_750 + 5_000 * 300 + 800 * 15_000),
    ("anthropic claude-haiku-4-5", "", Usage(input=1_000, output=500), 1_000 * 1_000 + 500 * 5_000),
    ("anthropic claude-haiku-4-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000),
     3_000 * 1_000 + 4_000 * 1_250 + 2_000 * 100 + 250 * 5_000),
    ("anthropic claude-haiku-4-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 1_000 + 6_000 * 2_000 + 4_000 * 1_250 + 5_000 * 100 + 800 * 5_000),
    ("anthropic claude-haiku-5-5", "", Usage(input=1_000, output=500), 1_000 * 100 + 500 * 500),
    ("anthropic claude-haiku-5-5", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000),
     3_000 * 100 + 4_000 * 125 + 2_000 * 10 + 250 * 500),
    ("anthropic claude-haiku-5-5", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 100 + 6_000 * 200 + 4_000 * 125 + 5_000 * 10 + 800 * 500),
    ("anthropic claude-fable-5-2", "", Usage(input=1_000, output=500), 1_000 * 8_000 + 500 * 40_000),
    ("anthropic claude-fable-5-2", "", Usage(input=9_000, output=250, cache_read=2_000, cache_write=4_000),
     3_000 * 8_000 + 4_000 * 10_000 + 2_000 * 200 + 250 * 40_000),
    ("anthropic claude-fable-5-2", "", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 8_000 + 6_000 * 16_000 + 4_000 * 10_000 + 5_000 * 200 + 800 * 40_000),
    ("anthropic claude-3-5-haiku-latest", "", Usage(input=1_000, output=500), 1_000 * 800 + 500 * 4_000),
    ("anthropic claude-3-5-haiku-latest", "", Usage(input=9_000, output=250, cache_read=2_000,
     cache_write=4_000), 3_000 * 800 + 4_000 * 1_000 + 2_000 * 80 + 250 * 4_000),
    ("anthropic claude-3-5-haiku-latest", "", Usage(input=20_000, output=800, cache_read=5_000,
     cache_write=10_000, cache_write_1h=6_000), 5_000 * 800 + 6_000 * 1_600 + 4_000 * 1_000 + 5_000 * 80 + 800 *
     4_000),
    ("anthropic claude-opus-5", "batch", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 12_500),
    ("anthropic claude-opus-5", "batch", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 2_500 + 6_000 * 5_000 + 4_000 * 3_125 + 5_000 * 250 + 800 * 12_500),
    ("anthropic claude-opus-5", "fast", Usage(input=1_000, output=500), 1_000 * 10_000 + 500 * 50_000),
    ("anthropic claude-opus-5", "fast", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 10_000 + 6_000 * 20_000 + 4_000 * 12_500 + 5_000 * 1_000 + 800 * 50_000),
    ("anthropic claude-opus-5-5", "fast", Usage(input=1_000, output=500), 1_000 * 8_000 + 500 * 40_000),
    ("anthropic claude-opus-5-5", "fast", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 8_000 + 6_000 * 16_000 + 4_000 * 10_000 + 5_000 * 400 + 800 * 40_000),
    ("anthropic claude-opus-4-8", "fast", Usage(input=1_000, output=500), 1_000 * 10_000 + 500 * 50_000),
    ("anthropic claude-opus-4-8", "fast", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 10_000 + 6_000 * 20_000 + 4_000 * 12_500 + 5_000 * 1_000 + 800 * 50_000),
    ("anthropic claude-fable-5-2", "fast", Usage(input=1_000, output=500), 1_000 * 16_000 + 500 * 80_000),
    ("anthropic claude-fable-5-2", "fast", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 16_000 + 6_000 * 32_000 + 4_000 * 20_000 + 5_000 * 400 + 800 * 80_000),
    ("anthropic claude-sonnet-5", "batch", Usage(input=1_000, output=500), 1_000 * 1_000 + 500 * 5_000),
    ("anthropic claude-sonnet-5", "batch", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 1_000 + 6_000 * 2_000 + 4_000 * 1_250 + 5_000 * 100 + 800 * 5_000),
    ("anthropic claude-haiku-4-5", "batch", Usage(input=1_000, output=500), 1_000 * 500 + 500 * 2_500),
    ("anthropic claude-haiku-4-5", "batch", Usage(input=20_000, output=800, cache_read=5_000,
     cache_write=10_000, cache_write_1h=6_000), 5_000 * 500 + 6_000 * 1_000 + 4_000 * 625 + 5_000 * 50 + 800 *
     2_500),
    ("anthropic claude-sonnet-5", "fast", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 10_000),
    ("anthropic claude-sonnet-5", "fast", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 2_000 + 6_000 * 4_000 + 4_000 * 2_500 + 5_000 * 200 + 800 * 10_000),
    ("anthropic claude-opus-4-1", "batch", Usage(input=1_000, output=500), 1_000 * 15_000 + 500 * 75_000),
    ("anthropic claude-opus-4-1", "batch", Usage(input=20_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 5_000 * 15_000 + 6_000 * 30_000 + 4_000 * 18_750 + 5_000 * 1_500 + 800 * 75_000),
    ("anthropic claude-sonnet-4-5", "", Usage(input=220_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 205_000 * 6_000 + 6_000 * 12_000 + 4_000 * 7_500 + 5_000 * 600 + 800 * 22_500),
    ("anthropic claude-sonnet-4-5", "batch", Usage(input=220_000, output=800, cache_read=5_000,
     cache_write=10_000, cache_write_1h=6_000), 205_000 * 3_000 + 6_000 * 6_000 + 4_000 * 3_750 + 5_000 * 300 +
     800 * 11_250),
    ("anthropic claude-haiku-5-5", "", Usage(input=120_000, output=800, cache_read=5_000, cache_write=10_000,
     cache_write_1h=6_000), 105_000 * 500 + 6_000 * 1_000 + 4_000 * 625 + 5_000 * 50 + 800 * 2_500),
    ("anthropic claude-haiku-5-5", "batch", Usage(input=120_000, output=800, cache_read=5_000,
     cache_write=10_000, cache_write_1h=6_000), 105_000 * 250 + 6_000 * 500 + 4_000 * 312.5 + 5_000 * 25 + 800 *
     1_250),
    ("anthropic claude-sonnet-4-5", "", Usage(input=200_000, output=1), 200_000 * 3_000 + 15_000),
    ("anthropic claude-sonnet-4-5", "", Usage(input=200_001, output=1), 200_001 * 6_000 + 22_500),
    ("anthropic claude-opus-5", "", Usage(input=100, output=20, web_searches=3), 100 * 5_000 + 20 * 25_000 + 3 *
     10_000_000),
    ("anthropic claude-opus-5", "batch", Usage(input=100, output=20, web_searches=3), 100 * 2_500 + 20 * 12_500
     + 3 * 10_000_000),
    ("google gemini-2.5-flash", "", Usage(input=1_000, output=500), 1_000 * 300 + 500 * 2_500),
    ("google gemini-2.5-flash", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 300 + 4_000 * 2_500),
    ("google gemini-2.5-flash", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 300 + 8_000 * 30
     + 300 * 2_500),
    ("google gemini-2.5-flash-lite", "", Usage(input=1_000, output=500), 1_000 * 100 + 500 * 400),
    ("google gemini-2.5-flash-lite", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 100 + 4_000 *
     400),
    ("google gemini-2.5-flash-lite", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 100 + 8_000
     * 10 + 300 * 400),
    ("google gemini-3.5-flash", "", Usage(input=1_000, output=500), 1_000 * 1_500 + 500 * 9_000),
    ("google gemini-3.5-flash", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 1_500 + 4_000 *
     9_000),
    ("google gemini-3.5-flash", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_500 + 8_000 *
     150 + 300 * 9_000),
    ("google gemini-3.8-flash", "", Usage(input=1_000, output=500), 1_000 * 750 + 500 * 3_750),
    ("google gemini-3.8-flash", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 750 + 4_000 * 3_750),
    ("google gemini-3.8-flash", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 750 + 8_000 * 75
     + 300 * 3_750),
    ("google gemini-4-argon", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 10_000),
    ("google gemini-4-argon", "", Usage(input=120, output=4_000, reasoning=3_200), 120 * 2_000 + 4_000 *
     10_000),
    ("google gemini-4-argon", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 * 100
     + 300 * 10_000),
    ("google gemini-2.5-flash", "", Usage(input=2_000, output=100, audio_input=1_500), 500 * 300 + 1_500 * 1_000
     + 100 * 2_500),
    ("google gemini-2.5-flash", "", Usage(input=2_000, output=100, audio_input=1_500, cache_read=1_200,
     cache_read_audio=1_000), 300 * 300 + 500 * 1_000 + 1_000 * 100 + 200 * 30 + 100 * 2_500),
    ("google gemini-2.5-flash", "batch", Usage(input=2_000, output=100, audio_input=1_500), 500 * 150 + 1_500 *
     500 + 100 * 1_250),
    ("google gemini-2.5-flash", "", Usage(input=100, output=20, web_searches=1), 100 * 300 + 20 * 2_500 +
     35_000_000),
    ("google gemini-3.8-flash", "", Usage(input=100, output=20, web_searches=4), 100 * 750 + 20 * 3_750 + 4 *
     14_000_000),
    ("google gemini-3.8-flash", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 375 + 8_000
     * 37.5 + 300 * 1_875),
    ("google gemini-3.8-flash", "priority", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 750 +
     8_000 * 75 + 300 * 3_750),
    ("google gemini-3.8-flash-tts", "flex", Usage(input=1_000, output=500), 1_000 * 250 + 500 * 4_500),
    ("google gemini-3.8-flash-tts", "priority", Usage(input=1_000, output=500), 1_000 * 900 + 500 * 16_200),
    ("google gemini-3-pro-image-preview", "", Usage(input=200, output=1_300, image_output=1_120), 200 * 2_000 +
     180 * 12_000 + 1_120 * 120_000),
    ("google gemini-3-pro-image-preview", "batch", Usage(input=200, output=1_300, image_output=1_120), 200 *
     1_000 + 180 * 6_000 + 1_120 * 60_000),
    ("google gemini-2.5-flash-image", "", Usage(input=200, output=1_290, image_output=1_290), 200 * 300 + 1_290
     * 30_000),
    ("google gemini-embedding-2", "", Usage(input=1_000, audio_input=200, image_input=258, video_input=300), 242
     * 200 + 200 * 6_500 + 258 * 450 + 300 * 12_000),
    ("google gemini-embedding-2", "batch", Usage(input=1_000, video_input=300), 700 * 100 + 300 * 6_000),
    ("google gemini-embedding-001", "", Usage(input=1_000), 1_000 * 150),
    ("openai gpt-image-1", "", Usage(input=50, image_input=40, output=1_056, image_output=1_056), 10 * 5_000 +
     40 * 10_000 + 1_056 * 40_000),
    ("openai gpt-image-1", "", Usage(input=400, image_input=300, cache_read=200, cache_read_image=150,
     output=10), 50 * 5_000 + 150 * 10_000 + 150 * 2_500 + 50 * 1_250 + 10 * 40_000),
    ("openai gpt-image-1.5", "", Usage(input=50, image_input=40, output=1_056, image_output=1_000), 10 * 5_000 +
     40 * 8_000 + 56 * 10_000 + 1_000 * 32_000),
    ("openai gpt-image-1.5", "batch", Usage(input=50, image_input=40, output=1_056, image_output=1_000), 10 *
     2_500 + 40 * 4_000 + 56 * 5_000 + 1_000 * 16_000),
    ("openai gpt-image-2", "", Usage(input=400, image_input=300, cache_read=200, cache_read_image=200,
     output=10), 100 * 5_000 + 100 * 8_000 + 200 * 2_000 + 10 * 30_000),
    ("openai gpt-audio", "", Usage(input=500, audio_input=400, output=300, audio_output=250), 100 * 2_500 + 400
     * 32_000 + 50 * 10_000 + 250 * 64_000),
    ("openai gpt-audio-mini", "", Usage(input=500, audio_input=400, output=300, audio_output=250), 100 * 600 +
     400 * 10_000 + 50 * 2_400 + 250 * 20_000),
    ("openai gpt-realtime", "", Usage(input=500, audio_input=400, cache_read=300, cache_read_audio=260,
     output=300, audio_output=250), 60 * 4_000 + 140 * 32_000 + 260 * 400 + 40 * 400 + 50 * 16_000 + 250 *
     64_000),
    ("openai gpt-4o-transcribe", "", Usage(input=600, audio_input=590, output=80), 10 * 2_500 + 590 * 6_000 + 80
     * 10_000),
    ("openai whisper-1", "", Usage(audio_ms=60_000), 60_000 * 100),
    ("openai tts-1", "", Usage(characters=1_234), 1_234 * 15_000),
    ("openai tts-1-hd", "", Usage(characters=1_234), 1_234 * 30_000),
    ("groq canopylabs/orpheus-v1-english", "", Usage(characters=1_000), 1_000 * 22_000),
    ("groq whisper-large-v3-turbo", "", Usage(audio_ms=90_000), 1_000_000),
    ("groq whisper-large-v3-turbo", "", Usage(audio_ms=2_000), 111_111),
    ("groq whisper-large-v3", "batch", Usage(audio_ms=3_600_000), 55_500_000),
    ("mistral voxtral-mini-2602", "", Usage(audio_ms=3_600_000), 180_000_000),
    ("mistral voxtral-mini-2602", "batch", Usage(audio_ms=3_600_000), 90_000_000),
    ("mistral mistral-ocr-latest", "", Usage(pages=30), 30 * 4_000_000),
    ("mistral mistral-ocr-latest", "", Usage(pages=30, annotated_pages=8), 22 * 4_000_000 + 8 * 5_000_000),
    ("mistral mistral-ocr-latest", "batch", Usage(pages=30, annotated_pages=30), 30 * 2_500_000),
    ("openai gpt-5.4", "", Usage(input=100, output=20, web_searches=2, file_searches=3), 100 * 2_500 + 20 *
     15_000 + 2 * 10_000_000 + 3 * 2_500_000),
    ("openai gpt-5.4", "flex", Usage(input=100, output=20, web_searches=2), 100 * 1_250 + 20 * 7_500 + 2 *
     10_000_000),
    ("openai o3-deep-research", "", Usage(input=5_000, output=900, web_searches=40), 5_000 * 10_000 + 900 *
     40_000 + 40 * 10_000_000),
    ("perplexity sonar", "", Usage(input=10, output=200), 10 * 1_000 + 200 * 1_000 + 12_000_000),
    ("perplexity sonar-pro", "", Usage(input=10, output=200), 10 * 3_000 + 200 * 15_000 + 14_000_000),
    ("perplexity sonar-deep-research", "", Usage(input=10, output=900, reasoning=700, web_searches=18), 10 *
     2_000 + 200 * 8_000 + 700 * 3_000 + 18 * 5_000_000),
    ("mistral mistral-small-latest", "", Usage(input=1_000, output=500), 1_000 * 150 + 500 * 600),
    ("mistral mistral-small-latest", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 150 + 8_000
     * 15 + 300 * 600),
    ("mistral mistral-medium-latest", "", Usage(input=1_000, output=500), 1_000 * 1_500 + 500 * 7_500),
    ("mistral mistral-medium-latest", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_500 +
     8_000 * 150 + 300 * 7_500),
    ("groq openai/gpt-oss-120b", "", Usage(input=1_000, output=500), 1_000 * 150 + 500 * 600),
    ("groq openai/gpt-oss-120b", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 150 + 8_000 * 75
     + 300 * 600),
    ("deepseek deepseek-chat", "", Usage(input=1_000, output=500), 1_000 * 270 + 500 * 1_100),
    ("deepseek deepseek-chat", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 270 + 8_000 * 70 +
     300 * 1_100),
    ("deepseek deepseek-reasoner", "", Usage(input=1_000, output=500), 1_000 * 550 + 500 * 2_190),
    ("deepseek deepseek-reasoner", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 550 + 8_000 *
     140 + 300 * 2_190),
    ("x-ai grok-4", "", Usage(input=1_000, output=500), 1_000 * 3_000 + 500 * 15_000),
    ("x-ai grok-4", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 3_000 + 8_000 * 750 + 300 *
     15_000),
    ("x-ai grok-code-fast-1", "", Usage(input=1_000, output=500), 1_000 * 200 + 500 * 1_500),
    ("x-ai grok-code-fast-1", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 200 + 8_000 * 20 +
     300 * 1_500),
    ("x-ai grok-4.3", "", Usage(input=1_000, output=500), 1_000 * 1_250 + 500 * 2_500),
    ("x-ai grok-4.3", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_250 + 8_000 * 200 + 300 *
     2_500),
    ("moonshotai kimi-k2-thinking", "", Usage(input=1_000, output=500), 1_000 * 600 + 500 * 2_500),
    ("moonshotai kimi-k2-thinking", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 600 + 8_000 *
     150 + 300 * 2_500),
    ("aws amazon.nova-pro-v1:0", "", Usage(input=1_000, output=500), 1_000 * 800 + 500 * 3_200),
    ("aws amazon.nova-pro-v1:0", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 800 + 8_000 *
     200 + 300 * 3_200),
    ("openrouter openai/gpt-4.1", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("openrouter openai/gpt-4.1", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 *
     500 + 300 * 8_000),
    ("azure gpt-4.1", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("azure gpt-4.1", "", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 2_000 + 8_000 * 500 + 300 *
     8_000),
    ("mistral mistral-large-latest", "", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 6_000),
    ("mistral codestral-latest", "", Usage(input=1_000, output=500), 1_000 * 300 + 500 * 900),
    ("groq llama-3.3-70b-versatile", "", Usage(input=1_000, output=500), 1_000 * 590 + 500 * 790),
    ("cohere command-a-03-2025", "", Usage(input=1_000, output=500), 1_000 * 2_500 + 500 * 10_000),
    ("cohere command-r7b-12-2024", "", Usage(input=1_000, output=500), 1_000 * 37.5 + 500 * 150),
    ("aws meta.llama3-3-70b-instruct-v1:0", "", Usage(input=1_000, output=500), 1_000 * 720 + 500 * 720),
    ("together meta-llama/Llama-3.3-70B-Instruct-Turbo", "", Usage(input=1_000, output=500), 1_000 * 880 + 500 *
     880),
    ("openrouter deepseek/deepseek-chat-v3.1", "", Usage(input=1_000, output=500), 1_000 * 270 + 500 * 1_000),
    ("mistral mistral-small-latest", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 75 +
     8_000 * 7.5 + 300 * 300),
    ("groq openai/gpt-oss-120b", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 75 + 8_000
     * 75 + 300 * 300),
    ("x-ai grok-4.3", "batch", Usage(input=10_000, output=300, cache_read=8_000), 2_000 * 1_000 + 8_000 * 160 +
     300 * 2_000),
    ("azure gpt-4.1", "priority", Usage(input=1_000, output=500), 1_000 * 2_000 + 500 * 8_000),
    ("x-ai grok-4.3", "", Usage(input=199_999, output=10), 199_999 * 1_250 + 10 * 2_500),
    ("x-ai grok-4.3", "", Usage(input=200_000, output=10), 200_000 * 2_500 + 10 * 5_000),
    ("openai text-embedding-3-small", "", Usage(input=12_345), 12_345 * 20),
    ("openai text-embedding-3-large", "", Usage(input=12_345), 12_345 * 130),
    ("mistral mistral-embed", "", Usage(input=12_345), 12_345 * 100),
    ("voyageai voyage-3.5", "", Usage(input=12_345), 12_345 * 60),
    ("voyageai voyage-3-large", "", Usage(input=12_345), 12_345 * 180),
    ("cohere embed-v4.0", "", Usage(input=12_345), 12_345 * 120),
    ("aws amazon.titan-embed-text-v2:0", "", Usage(input=12_345), 12_345 * 20),
    ("cohere command-r7b-12-2024", "", Usage(input=1, output=0), 38),
    ("cohere command-r7b-12-2024", "", Usage(input=3, output=0), 112),
    ("openai gpt-5-nano", "flex", Usage(input=1, cache_read=1, output=0), 2),
    ("openai gpt-5-nano", "flex", Usage(input=3, cache_read=3, output=0), 8),
]  # fmt: skip
