import { expect, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';

it('hands out no port twice, since those who got one may not listen on it yet', async () => {
  const ports: number[] = [];
  for (let call = 0; call < 100; call++) ports.push(...(await freePorts(7)));
  expect(new Set(ports).size).toBe(700);
});
