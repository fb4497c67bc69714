#!/usr/bin/env bash
# curl: what a reader of the README types.
set -euo pipefail

ask() { # the path, the body, then options of curl
    curl -sS --max-time 30 "$CLIENT_BASE_URL$1" -H "Authorization: Bearer $CLIENT_API_KEY" \
        -H "Content-Type: application/json" -d "$2" "${@:3}"
}
expect() { [[ $1 == *"$2"* ]] || { echo "expected '$2' in: $1" >&2 && exit 1; }; }

body='"model": "'$CLIENT_MODEL'", "messages": [{"role": "user", "content": "[words=3]"}]'
expect "$(ask /chat/completions "{$body}")" "word0 word1 word2"
stream=$(ask /chat/completions "{$body, \"stream\": true}" -N)
expect "$stream" word0
expect "$stream" "data: [DONE]"
expect "$(ask /chat/completions "{$body, \"stream\": true}" --http1.0)" "data: [DONE]"
expect "$(ask /chat/completions '{"model": ' -o /dev/null -w '%{http_code}')" 400
expect "$(ask /chat/completions "{$body}" --compressed)" "word0 word1 word2"
expect "$(ask /chat/completions "{$body}" -H 'Expect: 100-continue')" "word0 word1 word2"
expect "$(ask /chat/completions "{$body}" -H 'Transfer-Encoding: chunked')" "word0 word1 word2"
expect "$(curl -sS --max-time 30 -I "$CLIENT_BASE_URL/models" -H "Authorization: Bearer $CLIENT_API_KEY")" "200"
echo "curl $(curl --version | head -1 | cut -d' ' -f2): 8 uses"
