"""Stands in for a notebook server: answers 200 to everything, at the address that the hub hands out."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((address.hostname, address.port), Handler).serve_forever()
