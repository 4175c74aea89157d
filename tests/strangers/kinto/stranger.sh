# Kinto 17: everything in memory, accounts, quotas, history. Its document names no security scheme; overlay.yaml does.

start() {
    python_environment "$(python_of 3.10 3.11)"
    local port
    port=$(free_port)
    url=http://127.0.0.1:$port/v1
    export KINTO_ADMIN="admin:$(secret)" KINTO_ALICE="alice:$(secret)" KINTO_BOB="bob:$(secret)"
    serve "$work/venv/bin/pserve" "$folder/kinto.ini" "http_port=$port" "hmac_secret=$(secret)"
    wait_for "$url/" 60
    local one as=()
    for one in "$KINTO_ADMIN" "$KINTO_ALICE" "$KINTO_BOB"; do
        curl --silent --fail --output /dev/null --request PUT --header 'content-type: application/json' "${as[@]}" \
            --data "{\"data\": {\"password\": \"${one#*:}\"}}" "$url/accounts/${one%%:*}"
        # Anybody may make an account of their own; the rest is the administrator's.
        as=(--user "$KINTO_ADMIN")
    done
    document=$work/openapi.json
    curl --silent --fail "$url/__api__" --output "$document"
}

state() {
    local who what
    for who in "$KINTO_ADMIN" "$KINTO_ALICE" "$KINTO_BOB"; do
        for what in accounts buckets; do
            echo "${who%%:*} sees of $what:"
            curl --silent --user "$who" "$url/$what" | python3 -c '
import json, sys
for one in json.load(sys.stdin).get("data", []):
    print("  ", one.get("uri") or one["id"])'
        done
    done
}
