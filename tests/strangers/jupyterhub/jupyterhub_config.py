"""One hub, a proxy, two users that log in with anything, servers that are one small process each."""

import os
import sys

hub, proxy_api, front = (int(port) for port in os.environ["HUB_PORTS"].split())
c = get_config()  # noqa: F821

c.JupyterHub.bind_url = f"http://127.0.0.1:{front}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy_api}"
c.ConfigurableHTTPProxy.command = [os.environ["HUB_PROXY"]]
c.ConfigurableHTTPProxy.pid_file = "proxy.pid"
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = "cookie_secret"
c.JupyterHub.log_level = "WARN"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.cleanup_servers = True
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.allowed_users = {"alice", "bob"}

# No accounts on the machine, no files of anybody's.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = os.path.join(os.getcwd(), "home", "{username}")
c.Spawner.cmd = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "single_user.py")]
c.Spawner.start_timeout = 10
c.Spawner.http_timeout = 10

# Tokens by `services`, rights by `load_roles`.
c.JupyterHub.services = [
    {"name": "manager", "api_token": os.environ["HUB_MANAGER"]},
    {"name": "reader", "api_token": os.environ["HUB_READER"]},
]
READING = [
    "list:users", "read:users", "read:roles", "read:servers", "read:tokens", "list:groups", "read:groups",
    "list:services", "read:services", "read:hub", "read:users:shares", "read:groups:shares", "read:shares",
]  # fmt: skip
MANAGING = READING + [
    "admin:users", "admin:auth_state", "users", "delete:users", "users:activity", "admin:servers",
    "admin:server_state", "servers", "start:servers", "delete:servers", "tokens", "admin:groups", "groups",
    "delete:groups", "admin:services", "users:shares", "groups:shares", "shares", "proxy", "shutdown", "access:servers",
]  # fmt: skip
c.JupyterHub.load_roles = [
    {"name": "managing", "scopes": MANAGING, "services": ["manager"]},
    {"name": "reading", "scopes": READING, "services": ["reader"]},
    {"name": "user", "scopes": ["self"]},
]
