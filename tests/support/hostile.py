"""An environment as somebody may have it, full of settings for other projects, accounts and machines."""

from __future__ import annotations

NOWHERE = "http://127.0.0.1:9"  # the port discard, where nobody listens

# What is ordinary on somebody's machine and was seen, or can be expected, to break a command.
HOSTILE = {
    # locales that were never generated, as ssh brings them along
    "LANG": "xx_XX.UTF-8",
    "LC_CTYPE": "yy_YY.ISO-8859-1",
    "LC_ALL": "zz_ZZ.UTF-8",
    "LANGUAGE": "zz",
    # another account, region, endpoint
    "AWS_PROFILE": "somebody-else",
    "AWS_DEFAULT_PROFILE": "somebody-else",
    "AWS_REGION": "eu-south-9",
    "AWS_DEFAULT_REGION": "eu-south-9",
    "AWS_ACCESS_KEY_ID": "AKIASOMEBODYELSE",
    "AWS_SESSION_TOKEN": "of-somebody-else",
    "AWS_ENDPOINT_URL": NOWHERE,
    "AWS_ENDPOINT_URL_EC2": NOWHERE,
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_CA_BUNDLE": "/nonexistent/ca.pem",
    "BOTO_CONFIG": "/nonexistent/boto",
    # a proxy for everything
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "ALL_PROXY": NOWHERE,
    "http_proxy": NOWHERE,
    "https_proxy": NOWHERE,
    # Ansible for another project
    "ANSIBLE_CONFIG": "/nonexistent/ansible.cfg",
    "ANSIBLE_ROLES_PATH": "/nonexistent/roles",
    "ANSIBLE_COLLECTIONS_PATH": "/nonexistent/collections",
    "ANSIBLE_LIBRARY": "/nonexistent/library",
    "ANSIBLE_INVENTORY": "/nonexistent/hosts",
    "ANSIBLE_INVENTORY_ENABLED": "ini",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_VAULT_PASSWORD_FILE": "/nonexistent/vault",
    "ANSIBLE_STDOUT_CALLBACK": "nonexistent",
    "ANSIBLE_STRATEGY": "nonexistent",
    "ANSIBLE_REMOTE_USER": "nobody",
    "ANSIBLE_HASH_BEHAVIOUR": "merge",
    "ANSIBLE_HOME": "/nonexistent/ansible",
    # Terraform for another project
    "TF_VAR_name": "other",
    "TF_CLI_ARGS": "-nonexistent",
    "TF_WORKSPACE": "other",
    "TF_DATA_DIR": "/nonexistent/terraform",
    "TF_CLI_CONFIG_FILE": "/nonexistent/terraform.rc",
    "TF_PLUGIN_CACHE_DIR": "/nonexistent/plugins",
    # Python
    "PYTHONPATH": "/nonexistent/python",
    "PYTHONHOME": "/nonexistent/python",
    "PYTHONSTARTUP": "/nonexistent/startup.py",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "VIRTUAL_ENV": "/nonexistent/venv",
    # databases, warehouses and tools that this project uses too
    "PGHOST": "db.invalid",
    "PGSERVICE": "other",
    "PGOPTIONS": "-c nonexistent=1",
    "SNOWFLAKE_HOME": "/nonexistent/snowflake",
    "SNOWFLAKE_DEFAULT_CONNECTION_NAME": "other",
    "DBT_PROFILES_DIR": "/nonexistent/dbt",
    "DAGSTER_HOME": "relative",
    # shells, ssh, make
    "BASH_ENV": "/nonexistent/profile",
    "ENV": "/nonexistent/profile",
    "CDPATH": "/:/tmp",
    "SHELLOPTS": "noexec",
    "GREP_OPTIONS": "-v",
    "IFS": "/",
    "SHELL": "/bin/false",
    "SSH_AUTH_SOCK": "/nonexistent/agent",
    "SSH_ASKPASS": "/bin/false",
    "COMMAND": "rm -rf /",
    "DAYS": "many",
    "MAKEFLAGS": "k",
    "TERM": "nonexistent",
    "TMPDIR": "/nonexistent/tmp",
    "RETAILFLOW_TARGET": "aws",
    "RETAILFLOW_ENVIRONMENT": "/nonexistent",
    # homes
    "HOME": "/proc",
    "XDG_CONFIG_HOME": "/nonexistent/config",
}
