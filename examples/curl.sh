#!/usr/bin/env bash
# Every endpoint without a client library. -L: from a cold `web` stack Modal redirects (303) after 150 s of silence to
# where the answer will be. No `-X POST`, which would turn that second request into a POST as well.
set -euo pipefail
root="${OPENAI_BASE_URL%/}"
root="${root%/v1}"
ask() { curl -sSL --fail-with-body -H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' "$@" && echo; }

echo "== health"
curl -sSL -o /dev/null -w '%{http_code}\n' "$root/health"

echo "== models"
ask "$root/v1/models"

echo "== chat"
ask "$root/v1/chat/completions" -d '{
  "model": "'"$MODEL"'",
  "messages": [{"role": "user", "content": "Hello!"}]
}'

echo "== chat, streamed"
ask -N "$root/v1/chat/completions" -d '{
  "model": "'"$MODEL"'",
  "messages": [{"role": "user", "content": "Hello!"}],
  "chat_template_kwargs": {"enable_thinking": false},
  "stream": true
}'

echo "== completions"
ask "$root/v1/completions" -d '{"model": "'"$MODEL"'", "prompt": "The capital of France is", "max_tokens": 24}'

echo "== metrics"
ask "$root/metrics" | grep -c '^# TYPE'
