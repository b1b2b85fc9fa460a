"""Holds YAML documents against the published JSON Schema with a validator that nobody here wrote.

    validate.py SCHEMA FILE…      prints one JSON object: each file with the places and words of its problems
"""

import json
import sys

from jsonschema import Draft7Validator
from ruamel.yaml import YAML


def problems(validator, path):
    with open(path, encoding="utf-8") as file:
        # A date is text to the language, as to every reader of YAML 1.2's core.
        document = json.loads(json.dumps(YAML(typ="safe", pure=True).load(file), default=str))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
json.dump({path: problems(validator, path) for path in sys.argv[2:]}, sys.stdout)
