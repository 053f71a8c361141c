import { Card, Group, Text } from '@mantine/core';
import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import UPlot from 'uplot';

export interface Line {
  label: string;
  values: (number | null)[];
}

export interface ChartProps {
  title: string;
  /** Of a value, for a person. */
  format: (value: number | null | undefined) => string;
  /** Seconds since 1970. */
  at: number[];
  lines: Line[];
}

const HEIGHT = 170;

/** Lines over the last ten minutes, with the last value of each beside its name. */
export function Chart({ title, format, at, lines }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(null);
  const scheme = useComputedColorScheme('light');
  const labels = lines.map(({ label }) => label).join('\n');
  const formatter = useRef(format);
  formatter.current = format;

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const style = getComputedStyle(document.documentElement);
    const [ink, grid] = [
      style.getPropertyValue('--mantine-color-dimmed'),
      colorOf(element, '--chart-grid'),
    ];
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const made = new UPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high || 0) * 1.15)] } },
        axes: [
          {
            ...axis,
            space: 90,
            size: 30,
            // In seconds: at the beginning it would choose parts of one, which have the same name.
            incrs: [1, 2, 5, 10, 30, 60, 300],
            values: (_plot, ticks) => ticks.map(clock),
          },
          {
            ...axis,
            size: 64,
            space: 40,
            values: (_plot, ticks) => ticks.map((tick) => formatter.current(tick)),
          },
        ],
        series: [
          {},
          ...labels.split('\n').map((label, index) => ({
            label,
            stroke: colorOf(element, `--chart-${String(index + 1)}`),
            width: 2,
            points: { show: false },
          })),
        ],
      },
      [[], ...labels.split('\n').map(() => [])],
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [labels, scheme]);

  useEffect(() => {
    plot.current?.setData([at, ...lines.map(({ values }) => values)]);
  });

  const last = lines.map(({ label, values }) => `${label} ${format(values.at(-1))}`).join(', ');
  return (
    <Card withBorder padding="sm" component="section" aria-label={title}>
      <Group justify="space-between" mb={4} wrap="wrap" gap="xs">
        <Text fw={600} size="sm">
          {title}
        </Text>
        <Group gap="sm">
          {lines.map(({ label, values }, index) => (
            <Group gap={6} key={label} wrap="nowrap">
              <svg width="10" height="10" aria-hidden="true">
                <rect width="10" height="10" rx="2" fill={`var(--chart-${String(index + 1)})`} />
              </svg>
              <Text size="xs" c="dimmed">
                {label}
              </Text>
              <Text size="xs" className="figure">
                {format(values.at(-1))}
              </Text>
            </Group>
          ))}
        </Group>
      </Group>
      <div ref={place} className="chart" role="img" aria-label={`${title}, now: ${last}`} />
    </Card>
  );
}

const clock = (seconds: number): string =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

/** A canvas does not know `light-dark()`: what it comes to is read off an element. */
function colorOf(element: HTMLElement, variable: string): string {
  element.style.color = `var(${variable})`;
  const { color } = getComputedStyle(element);
  element.style.color = '';
  return color;
}
