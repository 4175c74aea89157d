# JupyterHub 6 with its proxy (from npm), a dummy authenticator and servers that do nothing.

start() {
    python_environment "$(python_of 3.12 3.11 3.10)"
    if [ ! -x "$work/node/node_modules/.bin/configurable-http-proxy" ]; then
        npm install --silent --no-audit --no-fund --prefix "$work/node" configurable-http-proxy@5.3.0 >/dev/null 2>&1
    fi
    # The document stands in the source distribution only.
    document=$work/rest-api.yml
    if [ ! -s "$document" ]; then
        "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary jupyterhub --dest "$work/sdist" \
            "$(grep ^jupyterhub= "$folder/requirements.txt")"
        tar --extract --gzip --to-stdout --file "$work"/sdist/jupyterhub-*.tar.gz --wildcards '*/docs/source/_static/rest-api.yml' \
            >"$document"
    fi
    local front
    front=$(free_port)
    export HUB_PORTS="$(free_port) $(free_port) $front"
    export HUB_PROXY=$work/node/node_modules/.bin/configurable-http-proxy
    export HUB_MANAGER HUB_READER
    HUB_MANAGER=$(secret) HUB_READER=$(secret)
    url=http://127.0.0.1:$front/hub/api
    mkdir -p "$work/run"
    (cd "$work/run" && rm -f jupyterhub_cookie_secret proxy.pid)
    serve env --chdir="$work/run" "$work/venv/bin/jupyterhub" --config "$folder/jupyterhub_config.py"
    wait_for "$url/" 60
}

state() {
    local what
    for what in users groups services proxy; do
        echo "$what:"
        curl --silent --header "authorization: token $HUB_MANAGER" "$url/$what?include_stopped_servers" | python3 -c '
import json, sys
for one in (everything := json.load(sys.stdin)):
    known = everything[one] if isinstance(everything, dict) else one
    print("  ", one if isinstance(one, str) else one["name"], sorted(known.get("servers", {})), known.get("groups", ""), known.get("admin", ""))'
    done
    for what in alice bob; do
        echo "tokens of $what:"
        curl --silent --header "authorization: token $HUB_MANAGER" "$url/users/$what/tokens" | python3 -c '
import json, sys
for one in json.load(sys.stdin)["api_tokens"]:
    print("  ", one["id"], one["note"])'
    done
}
