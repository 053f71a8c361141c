#!/bin/sh
# Sends to a user or a group by HTTP, and prints what becomes of it: send.sh <user|group> <id> <text> [dev.json]
set -eu
kind=${1:?say user or group}
to=${2:?say to whom}
text=${3:?say what}
dev=${4:-.warren/dev.json}

if [ ! -f "$dev" ]; then
  echo "There is no $dev: run \"npm start\" first, or name the dev.json." >&2
  exit 1
fi
# Each value of this file has a line of its own.
value() { sed -n "s/^  \"$1\": \"\(.*\)\",*$/\1/p" "$dev"; }
api=$(value apiUrl)
# Not on the command line, where every user of the machine could read it.
authorization() { printf 'header = "Authorization: Bearer %s"\n' "$(value serviceKey)"; }
quoted() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }

id=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)
body=$(printf '{"to": {"%s": "%s"}, "type": "chat.message", "data": {"text": "%s"}, "id": "%s", "track": true}' \
  "$kind" "$(quoted "$to")" "$(quoted "$text")" "$id")

# 503 says that it may be sent again: by its id it is handled once. So --retry is safe.
authorization | curl --config - --silent --show-error --fail-with-body --retry 3 \
  --header 'Content-Type: application/json' --data "$body" "$api/v1/messages"
echo
sleep "${WAIT_SECONDS:-2}"
authorization | curl --config - --silent --show-error --fail-with-body "$api/v1/messages/$id"
echo
