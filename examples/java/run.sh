#!/bin/sh
# Builds the client and runs it: run.sh <user> [dev.json]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
user=${1:?say whose messages: run.sh alice}
dev=${2:-.warren/dev.json}
jars=/usr/share/java
if ! command -v javac >/dev/null || [ ! -f "$jars/amqp-client.jar" ] || [ ! -f "$jars/json-android.jar" ]; then
  echo 'Missing: apt-get install default-jdk-headless librabbitmq-client-java libandroid-json-org-java' >&2
  exit 1
fi
if [ ! -f "$dev" ]; then
  echo "There is no $dev: run \"npm start\" first, or name the dev.json." >&2
  exit 1
fi
classpath="$jars/amqp-client.jar:$jars/json-android.jar:$jars/slf4j-api.jar:$jars/slf4j-nop.jar"
build=$(dirname "$dev")/java
mkdir -p "$build"
javac -Xlint:all,-serial -d "$build/classes" -cp "$classpath" "$here"/*.java
exec java -cp "$build/classes:$classpath" Main "$dev" "$user" "$build/$user.json"
