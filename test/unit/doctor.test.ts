import { describe, expect, it } from 'vitest';
import { backendAccount, DEFAULT_NAMES, topology } from '@warren/rabbitmq';
import { judgeBindings } from '../../server/dist/doctor/binding-checks.js';
import { judgeCertificate } from '../../server/dist/doctor/certificates.js';
import {
  judgeDead,
  judgeDescriptors,
  judgeTypes,
} from '../../server/dist/doctor/mailbox-checks.js';
import { judgePublishers } from '../../server/dist/doctor/broker-checks.js';
import { judgeVersion } from '../../server/dist/doctor/versions.js';

describe('the doctor on versions', () => {
  it.each([
    ['4.3.6', 'ok'],
    ['4.3.5', 'ok'],
    ['4.2.10', 'ok'],
    ['4.4.0', 'ok'],
    ['5.0.0', 'ok'],
    ['4.3.4', 'warning'],
    ['4.2.9', 'warning'],
    ['4.1.8', 'warning'],
    ['4.0.5', 'warning'],
    ['3.13.7', 'warning'],
    ['3.10.8', 'warning'],
    ['3.9.29', 'problem'],
    ['', 'problem'],
  ])('calls %s %s', (version, level) => {
    expect(judgeVersion('RabbitMQ', version).level).toBe(level);
  });

  it('says what is known of an older one', () => {
    expect(judgeVersion('RabbitMQ', '4.0.5').what).toContain('from any page');
    expect(judgeVersion('RabbitMQ', '4.2.9').what).not.toContain('from any page');
    expect(judgeVersion('LavinMQ', '2.4.0').what).toContain('LavinMQ, not RabbitMQ');
  });
});

describe('the doctor on mailboxes', () => {
  it('tells how many there are of each type, and which are not as configured', () => {
    expect(judgeTypes({})).toEqual([]);
    expect(judgeTypes({ classic: 3, quorum: 0 })[0]).toMatchObject({ level: 'ok' });
    expect(judgeTypes({ quorum: 2 }, 'quorum')[0]).toMatchObject({ level: 'ok' });
    const [mixed] = judgeTypes({ classic: 3, quorum: 2 }, 'quorum');
    expect(mixed).toMatchObject({ level: 'warning' });
    expect(mixed!.what).toContain('3 classic, 2 quorum');
  });

  it('names those that are dead, and says how to be rid of them', () => {
    expect(judgeDead([], 'warren')).toEqual([]);
    const [few] = judgeDead(['user.a.b.c'], 'warren');
    expect(few!.what).toContain('1 mailboxes are dead');
    expect(few!.what).toContain('(user.a.b.c)');
    expect(few!.remedy).toContain('rabbit_misc:r(<<"warren">>');
    const [many] = judgeDead(['a', 'b', 'c', 'd'], 'warren');
    expect(many!.what).toContain('(a, b, c, …)');
  });

  it('compares what classic ones need with the files that the broker may open', () => {
    expect(judgeDescriptors({ classic: 1000 }, 20_000)[0]).toMatchObject({ level: 'ok' });
    expect(judgeDescriptors({ classic: 9000 }, 20_000)[0]).toMatchObject({ level: 'warning' });
    expect(judgeDescriptors({ classic: 11_000 }, 20_000)[0]).toMatchObject({ level: 'problem' });
    expect(judgeDescriptors({ quorum: 30_000 }, 20_000)[0]).toMatchObject({ level: 'ok' });
  });
});

describe('the doctor on accounts that publish', () => {
  const account = (user: string, isDirect: boolean) => ({
    user,
    ...backendAccount('', DEFAULT_NAMES, user, { isDirect }).permissions,
  });
  const all = [
    account('direct', true),
    account('by-send', false),
    { user: 'everything', configure: '', write: '.*', read: '' },
  ];

  it('warns of those that can crash mailboxes, where the broker lets them', () => {
    const findings = judgePublishers(all, DEFAULT_NAMES, [3, 10, 8]);
    expect(findings.map(({ level, what }) => [level, what.split(' ')[0]])).toEqual([
      ['warning', 'direct'],
      ['warning', 'everything'],
    ]);
    expect(findings[0]!.remedy).toContain(account('direct', false).write);
    expect(judgePublishers(all, DEFAULT_NAMES, undefined)).toHaveLength(2);
    expect(judgePublishers(all, DEFAULT_NAMES, [4, 0, 5])).toEqual([]);
  });
});

describe('the doctor on bindings', () => {
  const binding = (source: string, destination: string, key = '', type = 'queue') => ({
    ...{ source, destination, destination_type: type, routing_key: key },
  });

  it('takes those that Warren makes, and an exchange of a back end that leads to warren.send', () => {
    const own = [
      ...topology().bindings,
      binding('', 'warren.send', 'warren.send'),
      binding('warren.retry', 'warren.send', 'warren.send'),
      binding('warren.retry', 'warren.webhook', 'warren.webhook'),
      binding('warren.events', 'warren.webhook', 'message.#'),
      binding('shop', 'warren.send', '', 'exchange'),
    ];
    expect(judgeBindings(own, DEFAULT_NAMES)).toEqual([]);
  });

  it.each([
    ['warren.events', 'warren.send', 'exchange'],
    ['warren.direct', 'warren.send', 'queue'],
    ['warren.group.x', 'warren.send', 'queue'],
    ['shop', 'warren.history', 'queue'],
    ['shop', 'warren.push', 'queue'],
    ['warren.replies', 'warren.webhook', 'queue'],
    ['shop', 'warren.retry', 'exchange'],
  ])('names %s where it leads to %s', (source, destination, type) => {
    const [finding] = judgeBindings([binding(source, destination, 'k', type)], DEFAULT_NAMES);
    expect(finding).toMatchObject({ level: 'problem' });
    expect(finding!.what).toContain(`${type} ${destination} is bound to ${source} (key k)`);
  });
});

describe('the doctor on certificates', () => {
  it('finds the reason behind an error that only says that it failed', () => {
    const cause = Object.assign(new Error('self-signed'), { code: 'SELF_SIGNED_CERT_IN_CHAIN' });
    const finding = judgeCertificate('broker', new Error('fetch failed', { cause }));
    expect(finding!.what).toContain('not trusted (SELF_SIGNED_CERT_IN_CHAIN)');
    expect(finding!.remedy).toContain('NODE_EXTRA_CA_CERTS');
    expect(judgeCertificate('broker', new Error('refused'))).toBeUndefined();
    expect(judgeCertificate('broker', undefined)).toBeUndefined();
  });
});
