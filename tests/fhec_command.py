"""The command fhec as the scripts of this folder run it."""

import json
import subprocess


def fhec(program, limit, *arguments):
    """Runs a command of fhec for at most `limit` seconds; returns its report, or its error in one line."""
    try:
        command = [program, *map(str, arguments), "--json"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"took more than {limit} s"
    if result.returncode == 0:
        return json.loads(result.stdout)
    try:
        error = json.loads(result.stdout)["error"]
    except (json.JSONDecodeError, KeyError):
        return result.stderr.strip() or f"ended with status {result.returncode}"
    details = [detail["message"] for detail in error.get("details", [])]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return (details[0] if details else ": ".join([error["message"], *error.get("causes", [])])) + more
