"""The OpenAPI description that the service serves: it names every route, and schemathesis compares both."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import service
import tiny_model
from test_keys import MANAGE, OPEN, routes

NAME = "tiny"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,unsupported_method"
)
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "10")  # requests per operation, besides those that cover its fields
SEED = os.environ.get("OPENAPI_SEED", "1")
# What asks registries, or takes the model away.
LEFT_OUT = ("/api/pull", "/api/push", "/api/delete", "/api/create", "/api/blobs/{digest}")
# Knows tools and reasoning, so that requests with them are answered.
TEMPLATE = "{% if tools %}{{ tools | length }}{% endif %}{% if thinking and reasoning_effort %}think{% endif %}"


def setUpModule():
    global FOLDER, SERVICE
    FOLDER = tempfile.mkdtemp(prefix="pantry-openapi-")
    before = tiny_model.N_CONTEXT, tiny_model.TEMPLATE
    tiny_model.N_CONTEXT, tiny_model.TEMPLATE = 256, TEMPLATE + tiny_model.TEMPLATE  # an answer ends soon
    path = os.path.join(FOLDER, "tiny.gguf")
    tiny_model.write(path)
    tiny_model.N_CONTEXT, tiny_model.TEMPLATE = before
    SERVICE = service.Service({NAME: path})


def tearDownModule():
    SERVICE.stop()
    shutil.rmtree(FOLDER)


def description():
    status, headers, value = SERVICE.request("GET", "/openapi.json")
    assert status == 200 and headers["Content-Type"].startswith("application/json"), status
    return value


def schemathesis():
    """Its program; skips the test where it is not installed and cannot be."""
    venv = [os.path.join(service.ROOT, "tools", "venv"), os.path.join(service.ROOT, "build"), "openapi"]
    done = subprocess.run(venv, capture_output=True, text=True)
    if done.returncode:
        raise unittest.SkipTest(f"schemathesis cannot be installed: {done.stderr.strip()[-300:]}")
    return os.path.join(os.path.dirname(done.stdout.strip()), "st")


class Description(unittest.TestCase):
    def test_names_every_route_and_its_scope(self):
        named = {}
        for path, operations in description()["paths"].items():
            for method, operation in operations.items():
                named[method.upper(), re.sub(r"\{\w+\}$", "", path)] = operation
        self.assertEqual(set(named), set(routes()))
        for route, operation in named.items():
            scope = "open" if route in OPEN else "manage" if route in MANAGE else "infer"
            self.assertEqual(operation["x-scope"], scope, route)
            self.assertEqual(operation.get("security"), [] if scope == "open" else None, route)

    def test_has_the_version_of_the_service(self):
        self.assertEqual(description()["info"]["version"], SERVICE.request("GET", "/api/version")[2]["version"])

    def test_operations_have_names_of_their_own(self):
        ids = [o["operationId"] for path in description()["paths"].values() for o in path.values()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_references_lead_somewhere_and_nothing_is_unused(self):
        whole = description()
        text = json.dumps(whole)
        for kind, components in whole["components"].items():
            if kind == "securitySchemes":
                continue
            used = set(re.findall(rf'"#/components/{kind}/([^"]+)"', text))
            self.assertEqual(used, set(components), kind)

    def test_fields_are_those_that_the_service_reads(self):
        """null says nothing, so that every field of a schema can be null; others are refused."""
        whole = description()
        for path, operations in whole["paths"].items():
            for method, operation in operations.items():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
                schema = whole["components"]["schemas"].get(name, {})
                if schema.get("additionalProperties") is not False:
                    continue
                for field in schema["properties"]:
                    reply = SERVICE.request(method.upper(), path, {field: None})[2]
                    self.assertNotRegex(json.dumps(reply), rf"{field}: (unknown field|not supported)", path)
                status, _, reply = SERVICE.request(method.upper(), path, {"model": NAME, "no_such_field": 1})
                self.assertEqual(status, 400, path)
                self.assertIn("no_such_field", json.dumps(reply), path)


class Conformance(unittest.TestCase):
    def test_requests_and_replies_are_as_described(self):
        program = schemathesis()
        whole = description()
        whole["components"]["schemas"]["ModelName"]["enum"] = [NAME]
        del whole["components"]["securitySchemes"], whole["security"]
        for path in LEFT_OUT:
            whole["paths"].pop(path, None)
        for operations in whole["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
        path = os.path.join(FOLDER, "openapi.json")
        with open(path, "w") as file:
            json.dump(whole, file)
        command = [program, "run", path, "--url", SERVICE.url, "--checks", CHECKS, "-n", EXAMPLES, "--seed", SEED]
        command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=20 * service.PATIENCE)
        failures = done.stdout[max(0, done.stdout.find("= FAILURES =")) :]
        self.assertEqual(done.returncode, 0, failures[:8000] + done.stderr[-2000:])
        self.assertEqual(SERVICE.request("GET", "/health")[0], 200)


if __name__ == "__main__":
    unittest.main()
