import type { Broker } from '@warren/rabbitmq';

/**
 * Kills the process of a classic queue as often as the broker brings it back, until it gives up: what is left is what
 * a queue that crashes by itself leaves.
 */
export async function killForGood(broker: Broker, queue: string): Promise<void> {
  const said = await broker.control(
    'eval',
    [
      `Process = fun() -> {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"warren">>, queue, <<"${queue}">>)), amqqueue:get_pid(Q) end,`,
      'Kill = fun Kill(0, _) -> alive; Kill(_, 0) -> dead; Kill(Left, Patience) -> Pid = Process(),',
      'case is_process_alive(Pid) of true -> exit(Pid, kill), Kill(Left - 1, 20);',
      'false -> timer:sleep(20), Kill(Left, Patience - 1) end end,',
      'Kill(50, 20).',
    ].join(' '),
  );
  if (!said.includes('dead')) throw new Error(`The queue could not be killed: ${said}`);
}
