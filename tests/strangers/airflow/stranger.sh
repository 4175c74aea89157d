# Airflow 3 as `airflow standalone` starts it, with two users of the simple auth manager. Its document has no login:
# overlay.yaml adds the one of the auth manager's own document.

# Its SQLite locks up under more than two writers at once.
flags=(--workers 2 --random-cases 2 --max-seconds 130)

start() {
    python_environment "$(python_of 3.12 3.11 3.10)"
    local port
    port=$(free_port)
    export AIRFLOW_HOME=$work/home AIRFLOW_ADMIN_PASSWORD AIRFLOW_VIEWER_PASSWORD
    AIRFLOW_ADMIN_PASSWORD=$(secret) AIRFLOW_VIEWER_PASSWORD=$(secret)
    export AIRFLOW__CORE__DAGS_FOLDER=$folder/dags AIRFLOW__CORE__LOAD_EXAMPLES=False
    export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin,viewer:viewer
    export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=$work/passwords.json
    export AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__API__PORT=$port AIRFLOW__API__WORKERS=1
    export AIRFLOW__API__BASE_URL=http://127.0.0.1:$port
    export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$port/execution/
    export AIRFLOW__API_AUTH__JWT_SECRET AIRFLOW__CORE__FERNET_KEY
    AIRFLOW__API_AUTH__JWT_SECRET=$(secret)$(secret) AIRFLOW__CORE__FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
    export AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING PYTHONDONTWRITEBYTECODE=1
    export PATH=$work/venv/bin:$PATH
    url=http://127.0.0.1:$port
    rm -rf "$AIRFLOW_HOME"
    mkdir -p "$AIRFLOW_HOME"
    # Making the tables takes a minute, so that is done once.
    if [ ! -s "$work/empty.db" ]; then
        say "making the tables"
        airflow db migrate >"$work/migrate.log" 2>&1
        cp "$AIRFLOW_HOME/airflow.db" "$work/empty.db"
    fi
    cp "$work/empty.db" "$AIRFLOW_HOME/airflow.db"
    printf '{"admin": "%s", "viewer": "%s"}\n' "$AIRFLOW_ADMIN_PASSWORD" "$AIRFLOW_VIEWER_PASSWORD" >"$work/passwords.json"
    serve airflow standalone
    wait_for "$url/api/v2/version" 240
    document=$work/openapi.json
    curl --silent --fail "$url/openapi.json" --output "$document"
    # Both workflows are there once the processor has been by.
    local token
    token=$(airflow_token)
    for _ in $(seq 120); do
        [ "$(curl --silent --header "authorization: Bearer $token" "$url/api/v2/dags" | jq .total_entries)" = 2 ] && return
        sleep 1
    done
    say "the workflows do not appear"
    return 1
}

airflow_token() {
    curl --silent --fail --header 'content-type: application/json' "$url/auth/token" \
        --data "{\"username\": \"admin\", \"password\": \"$AIRFLOW_ADMIN_PASSWORD\"}" | jq --raw-output .access_token
}

state() {
    local token what
    token=$(airflow_token)
    for what in connections variables pools backfills?dag_id=counting dags/~/dagRuns dags/~/dagRuns/~/hitlDetails \
        assets assets/events dagTags; do
        echo "$what:"
        curl --silent --header "authorization: Bearer $token" "$url/api/v2/$what" | python3 -c '
import json, sys
for one in next((value for value in json.load(sys.stdin).values() if isinstance(value, list)), []):
    print("  ", one if isinstance(one, str) else [one[key] for key in ("id", "name", "key", "connection_id", "dag_id", "dag_run_id", "uri", "description") if key in one])'
    done
    curl --silent --header "authorization: Bearer $token" "$url/api/v2/dags" | jq --raw-output '.dags[] | "\(.dag_id) paused: \(.is_paused)"'
}
