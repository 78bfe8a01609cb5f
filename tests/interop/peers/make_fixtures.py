"""Write `fixtures/` with the real packages: small files, inputs, and the codes and outputs that the packages compute.

Run by the environment of the peers: `make interop-fixtures`. See fixtures/README.md.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
from importlib.metadata import version

from case import HERE
from make_dictionary_learning import dictionary_learning
from make_others import openai, scopes, sparsify
from make_saelens import saelens

PACKAGES = ("torch", "sae-lens", "dictionary-learning", "eai-sparsify", "safetensors", "numpy")

if __name__ == "__main__":
    for write in (saelens, dictionary_learning, sparsify, openai, scopes):
        write()
    versions = {name: version(name).partition("+")[0] for name in PACKAGES}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
