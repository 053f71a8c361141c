import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Broker } from '@warren/rabbitmq';

export interface Usage {
  cpuSeconds: number;
  mb: number;
  /** Files and sockets that it has open. */
  descriptors: number;
}

/** Of the node's Erlang process, as Linux tells it; zeros when it has ended. */
export function usageOf({ dataDir }: Broker): Usage {
  try {
    const proc = `/proc/${readFileSync(join(dataDir, 'node.pid'), 'utf8').trim()}`;
    const stat = readFileSync(`${proc}/stat`, 'utf8');
    // After the command's name in parentheses: 11 fields on are user and system time, in 1/100 s.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const resident = /VmRSS:\s+(\d+)/.exec(readFileSync(`${proc}/status`, 'utf8'))?.[1];
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100,
      mb: Number(resident ?? 0) / 1024,
      descriptors: readdirSync(`${proc}/fd`).length,
    };
  } catch {
    return { cpuSeconds: 0, mb: 0, descriptors: 0 };
  }
}

/** What a directory lies on: `ext4 without a journal`, which is slow at making and deleting files. */
export function fileSystemOf(directory: string): string {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at = '']) => directory === at || directory.startsWith(at.replace(/\/?$/, '/')))
    .sort(([, a = ''], [, b = '']) => a.length - b.length);
  const [device = '', , type = 'unknown'] = mounts.at(-1) ?? [];
  if (type !== 'ext4') return type;
  return hasJournal(basename(device)) ? type : `${type} without a journal`;
}

function hasJournal(device: string): boolean {
  try {
    return readdirSync('/proc/fs/jbd2').some((name) => name.startsWith(`${device}-`));
  } catch {
    return false;
  }
}
