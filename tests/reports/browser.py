"""Headless Chromium without network, spoken to over a pipe."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

KEY_CODES = {'Tab': 9, 'Enter': 13, ' ': 32, 'PageUp': 33, 'PageDown': 34} | {
    f'Arrow{side}': 37 + number for number, side in enumerate(('Left', 'Up', 'Right', 'Down'))
}


class Browser:
    """Headless Chromium without network, spoken to over a pipe (DevTools protocol)."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which('chromium') or shutil.which('google-chrome')
        assert program, 'The tests of the pages need chromium on the PATH; install it.'
        pipes = [os.pipe(), os.pipe()]
        commands, answers = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in pair] for pair in pipes
        )
        for end in (*pipes[0], *pipes[1]):
            os.close(end)
        self.process = subprocess.Popen(
            [
                'bash',
                '-c',
                f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}',
                'bash',
                program,
                '--headless',
                '--no-sandbox',
                '--use-angle=swiftshader',
                '--enable-unsafe-swiftshader',
                '--disable-quic',
                '--no-first-run',
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
                '--disable-dev-shm-usage',
                '--host-resolver-rules=MAP * ~NOTFOUND',
                '--remote-debugging-pipe',
                f'--user-data-dir={profile}',
            ],
            pass_fds=(commands[0], answers[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands[0])
        os.close(answers[1])
        self.to, self.back = commands[1], answers[0]
        self.events, self.count, self.rest, self.session = [], 0, b'', None
        target = self.ask('Target.createTarget', url='about:blank')['targetId']
        attached = self.ask('Target.attachToTarget', targetId=target, flatten=True)
        self.session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{domain}.enable')

    def ask(self, method: str, **parameters) -> dict:
        """Send a command and wait for its answer; keep the events in between."""
        self.count += 1
        message = {'id': self.count, 'method': method, 'params': parameters}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.to, json.dumps(message).encode() + b'\0')
        answer = self.wait(lambda m: m.get('id') == self.count)
        assert 'error' not in answer, answer
        return answer['result']

    def wait(self, wanted, limit_s: float = 120.0) -> dict:
        """First message that is wanted; keep the others."""
        end = time.monotonic() + limit_s
        while True:
            while b'\0' in self.rest:
                raw, _, self.rest = self.rest.partition(b'\0')
                message = json.loads(raw)
                self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self.back], [], [], max(end - time.monotonic(), 0))
            chunk = os.read(self.back, 1 << 20) if ready else b''
            assert chunk, 'Chromium does not answer.'
            self.rest += chunk

    def open(self, page: Path, width: int = 1200) -> None:
        """Load a file and wait until it has been loaded."""
        self.events.clear()
        self.ask(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.ask('Page.navigate', url=page.as_uri())
        loaded = [m for m in self.events if m.get('method') == 'Page.loadEventFired']
        if not loaded:
            self.wait(lambda m: m.get('method') == 'Page.loadEventFired')

    def show_as(self, media: str = '', scheme: str = 'light') -> None:
        """Show pages as printed (``print``), or in the colours of a scheme."""
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self.ask('Emulation.setEmulatedMedia', media=media, features=features)

    def press(self, *keys: str) -> None:
        """Press keys one after another, by their names."""
        for key in keys:
            code = KEY_CODES.get(key, ord(key[0].upper()))
            named = {'key': key, 'windowsVirtualKeyCode': code}
            text = {'text': key} if len(key) == 1 else {}
            self.ask('Input.dispatchKeyEvent', type='keyDown', **named, **text)
            self.ask('Input.dispatchKeyEvent', type='keyUp', **named)

    def evaluate(self, expression: str):
        """Value of an expression in the page, from outside its content security policy."""
        answer = self.ask('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def until(self, expression: str, limit_s: float = 60.0):
        """Value of an expression once it is true of the page."""
        end = time.monotonic() + limit_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f'{expression} stays {value!r}'
            time.sleep(0.1)
        return value

    def picture(self, whole: bool = False) -> bytes:
        """PNG of the window, or of the whole page."""
        wanted = {}
        if whole:
            size = self.ask('Page.getLayoutMetrics')['cssContentSize']
            wanted['captureBeyondViewport'] = True
            wanted['clip'] = {key: size[key] for key in ('x', 'y', 'width', 'height')} | {
                'scale': 1
            }
        shot = self.ask('Page.captureScreenshot', format='png', **wanted)
        return base64.b64decode(shot['data'])

    def seen(self, method: str) -> list[dict]:
        """Parameters of the events of one kind since the page was opened."""
        return [m['params'] for m in self.events if m.get('method') == method]

    def close(self) -> None:
        """End the browser."""
        self.session = None
        try:
            self.ask('Browser.close')
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.to)
            os.close(self.back)
