"""MCP's reference client in Python, whose server is a command: a session in a pod.

usage: mcp_client.py GPUS COMMAND [ARGUMENT…]

In both eras of the protocol it lists the tools and reads the inventory, which must have so many GPUs and say of each answer
that they are simulated. Exit 0: all held.
"""

import os
import sys

import anyio
from mcp import Client, StdioServerParameters


async def session(gpus: int, command: list[str], mode: str) -> list[str]:
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with Client(server, mode=mode, read_timeout_seconds=30) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "get_gpu_inventory" in names and "get_gpu_health" in names, names
        result = await client.call_tool("get_gpu_inventory", {})
        assert not result.is_error, result.content[0].text
        inventory = result.structured_content
        assert inventory["simulated"] is True, inventory
        assert result.content[0].text.startswith("SIMULATED"), result.content[0].text
        assert {gpu["product"] for gpu in inventory["gpus"]} == {"NVIDIA H200"}, inventory
        assert inventory["gpu_count"] == len(inventory["gpus"]) == gpus, inventory
        return [gpu["uuid"] for gpu in inventory["gpus"]]


async def main() -> None:
    gpus, command = int(sys.argv[1]), sys.argv[2:]
    eras = [await session(gpus, command, mode) for mode in ("legacy", "auto")]
    assert eras[0] == eras[1] and len(set(eras[0])) == gpus, eras


anyio.run(main)
