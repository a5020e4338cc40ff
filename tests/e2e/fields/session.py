"""A session of the agent, in MCP's lines, for scripts that have nothing but Python itself."""

import json
import os
import subprocess


class Refused(Exception):
    """A tool refused; in its own words."""


class Session:
    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}, text=True
        )
        self.id = 0
        client = {"name": "tests", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.id += 1
        self.send({"id": self.id, "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.id:
                if "error" in message:
                    raise Refused(f"{method}: {message['error']}")
                return message["result"]
        raise SystemExit("the agent closed its end")

    def tools(self):
        return {tool["name"]: tool for tool in self.ask("tools/list", {})["tools"]}

    def pages(self, tool, arguments):
        """Each page of an answer, as what a program reads and what people do."""
        cursor, schema = None, self.tools()[tool]["inputSchema"]
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            result = self.ask("tools/call", {"name": tool, "arguments": {**arguments, **more}})
            text = result["content"][0]["text"]
            if result.get("isError"):
                raise Refused(text)
            page = result["structuredContent"]
            yield page, text
            # That of watch_gpu_events and others is a place in the journal, and no page.
            cursor = page.get("next_cursor") if "cursor" in schema.get("properties", {}) else None
            if cursor is None:
                return

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


def whole(pages, lists):
    """One answer of its pages: that list of all of them."""
    first, *rest = pages
    return {**first, lists: [*first[lists], *(entry for page in rest for entry in page[lists])]}
