import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Wherever it is mounted: addresses are relative to the page.
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: '../dist/web',
    emptyOutDir: true,
    rolldownOptions: {
      input: { index: 'index.html', 'service-worker': 'service-worker.ts' },
      // A service worker is known by its address.
      output: {
        entryFileNames: ({ name }) =>
          name === 'service-worker' ? '[name].js' : 'assets/[name]-[hash].js',
      },
    },
  },
});
