"""Sends to a user and to a group by AMQP alone, with pika, and prints what becomes of it.

    python3 send.py user alice "hello"
    python3 send.py group room-7 "hello"
"""

import argparse
import json
import sys
import uuid

import pika

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("kind", choices=["user", "group"])
parser.add_argument("to")
parser.add_argument("text")
parser.add_argument("--dev", default=".warren/dev.json", help="where npm start has put its addresses")
parser.add_argument("--seconds", type=float, default=10, help="how long to wait for news")
args = parser.parse_args()

with open(args.dev) as file:
    parameters = pika.URLParameters(json.load(file)["amqpUrl"])
account = parameters.credentials.username
connection = pika.BlockingConnection(parameters)
channel = connection.channel()

# What becomes of messages is told on a topic exchange. Each back end has one queue of its own there,
# bound before anything is sent, so that nothing is missed.
events = f"warren.events.{account}"
channel.queue_declare(events, exclusive=True)
channel.queue_bind(events, "warren.events", "message.#")

# A message on warren.send has the body of POST /v1/messages, and the same effect. By its id it is
# handled once, however often it is sent.
message_id = str(uuid.uuid4())
message = {
    "to": {args.kind: args.to},
    "type": "chat.message",
    "data": {"text": args.text},
    "track": True,
}
channel.confirm_delivery()
channel.basic_publish(
    "warren.send",
    "",
    json.dumps(message),
    # The broker checks user_id: a refusal is told to this account.
    pika.BasicProperties(message_id=message_id, delivery_mode=2, user_id=account),
)
print(f"{message_id} is on its way", flush=True)

try:
    for _, _, body in channel.consume(events, auto_ack=True, inactivity_timeout=args.seconds):
        if body is None:
            print(f"no more news for {args.seconds:g} s: for others it waits, if there are any")
            break
        event = json.loads(body)
        if event.get("messageId") != message_id:
            continue
        if event["event"] == "message.refused":
            sys.exit(f"refused: {event['code']} {event['detail']}")
        print(f"{event['user']}: {event['outcome']}", flush=True)
        if args.kind == "user":
            break
finally:
    connection.close()
