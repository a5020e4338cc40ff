"""Drives the agent with MCP's reference client in Python, in both eras of the protocol.

usage: mcp_client.py AGENT SIMULATOR

The client checks every structured answer against the tool's outputSchema by itself and raises where it does not fit; this
script checks that too, with jsonschema and no mercy, and that each era finds the same GPUs. Exit 0: all held.
"""

import os
import sys

import anyio
import jsonschema
from mcp import Client, StdioServerParameters

ARGUMENTS = {
    "trace_driver_calls": {"duration_s": 0},
    "watch_gpu_events": {"duration_s": 0},
    "get_gpu_inventory": {"detail": "full"},
    "get_gpu_processes": {"detail": "full"},
    "get_gpu_health": {"detail": "full"},
    "get_gpu_topology": {"detail": "full"},
}


async def session(agent: str, simulator: str, mode: str) -> dict:
    server = StdioServerParameters(
        command=agent,
        args=["--nvml-mode", "simulated", "--nvml-library", simulator],
        env=dict(os.environ),
    )
    async with Client(server, mode=mode, read_timeout_seconds=30) as client:
        tools = (await client.list_tools()).tools
        answers = {}
        for tool in tools:
            jsonschema.Draft202012Validator.check_schema(tool.input_schema)
            jsonschema.Draft202012Validator.check_schema(tool.output_schema)
            told = []

            async def progress(done: float, total: float | None, message: str | None) -> None:
                told.append(message)

            result = await client.call_tool(tool.name, ARGUMENTS.get(tool.name, {}), progress_callback=progress)
            if tool.name == "trace_driver_calls" and result.is_error:
                # There is no driver on a machine without GPUs.
                assert "Next: " in result.content[0].text, result
                continue
            assert not result.is_error, f"{tool.name}: {result.content[0].text}"
            jsonschema.validate(result.structured_content, tool.output_schema, cls=jsonschema.Draft202012Validator)
            assert result.structured_content["simulated"] is True, tool.name
            assert result.content[0].text, tool.name
            assert tool.annotations.read_only_hint is True, tool.name
            answers[tool.name] = result.structured_content
        refused = await client.call_tool("get_gpu_health", {"gpu": 99})
        assert refused.is_error and "no GPU" in refused.content[0].text
        resources = (await client.list_resources()).resources
        assert [str(resource.uri) for resource in resources] == ["gpu://events"], resources
        contents = (await client.read_resource("gpu://events")).contents
        assert contents[0].text, contents
        return {
            "version": client.protocol_version,
            "uuids": [gpu["uuid"] for gpu in answers["get_gpu_inventory"]["gpus"]],
            "verdicts": [gpu["verdict"] for gpu in answers["get_gpu_health"]["gpus"]],
        }


async def main() -> None:
    agent, simulator = sys.argv[1:]
    legacy = await session(agent, simulator, "legacy")
    modern = await session(agent, simulator, "auto")
    assert legacy["version"] == "2025-11-25", legacy
    assert modern["version"] == "2026-07-28", modern
    assert legacy["uuids"] == modern["uuids"] and len(set(legacy["uuids"])) == 8, (legacy, modern)
    assert legacy["verdicts"] == modern["verdicts"] == ["healthy"] * 3 + ["failed"] + ["healthy"] * 4, legacy
    print(f"both eras hold: {legacy['version']} and {modern['version']}, {len(legacy['uuids'])} GPUs")


anyio.run(main)
