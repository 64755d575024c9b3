"""A local server that speaks as the archives do: SIA answers, cutouts, feed pages, a name resolver, and their faults.

Its data: a visit of M101 in four ACS filters, a second visit with two, and any press images a test adds. A cutout's
level in each channel tells which data set it was made from.
"""

from __future__ import annotations

import functools
import io
import json
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits
from PIL import Image

RA, DEC = 210.80227, 54.34895
# Data set: filter, detector, exposure in seconds, pixel level in a cutout.
DATASETS = {
    'hst_9490_01_acs_wfc_f435w': ('F435W', 'ACS/WFC', 900.0, 40),
    'hst_9490_01_acs_wfc_f555w': ('F555W', 'ACS/WFC', 720.0, 120),
    'hst_9490_01_acs_wfc_f814w': ('F814W', 'ACS/WFC', 720.0, 200),
    'hst_9490_01_acs_wfc_f658n': ('F658N', 'ACS/WFC', 2400.0, 250),
    'hst_9490_01_acs_wfc_total': ('detection', 'ACS/WFC', 4740.0, 0),
    'hst_9490_02_acs_wfc_f435w': ('F435W', 'ACS/WFC', 900.0, 60),
    'hst_9490_02_acs_wfc_f814w': ('F814W', 'ACS/WFC', 720.0, 220),
}

# The header of an SIA 1.0 answer: the standard UCDs, and the archive's own columns.
_FIELDS = """
<FIELD name="URL" ucd="VOX:Image_AccessReference" datatype="char" arraysize="*"/>
<FIELD name="Dataset" ucd="ID_MAIN" datatype="char" arraysize="*"/>
<FIELD name="Target" datatype="char" arraysize="*"/>
<FIELD name="Title" ucd="VOX:Image_Title" datatype="char" arraysize="*"/>
<FIELD name="RA" ucd="POS_EQ_RA_MAIN" datatype="double" unit="deg"/>
<FIELD name="DEC" ucd="POS_EQ_DEC_MAIN" datatype="double" unit="deg"/>
<FIELD name="naxes" ucd="VOX:Image_Naxes" datatype="int"/>
<FIELD name="naxis" ucd="VOX:Image_Naxis" datatype="int" arraysize="*"/>
<FIELD name="scale" ucd="VOX:Image_Scale" datatype="double" arraysize="*" unit="deg/pix"/>
<FIELD name="Format" ucd="VOX:Image_Format" datatype="char" arraysize="*"/>
<FIELD name="Detector" ucd="INST_ID" datatype="char" arraysize="*"/>
<FIELD name="Spectral_Elt" ucd="VOX:BandPass_ID" datatype="char" arraysize="*"/>
<FIELD name="ExpTime" datatype="float" unit="s"/>
<FIELD name="Level" datatype="int"/>
"""

# Rows of MAST's portal, as its documentation and the samples in astroquery's own tests have them.
OBSERVATION = {
    'obsid': 26604471,
    'obs_id': 'jcdm14010',
    'obs_collection': 'HST',
    'target_name': 'NGC5457',
    's_ra': RA,
    's_dec': DEC,
    'instrument_name': 'ACS/WFC',
    'filters': 'F814W',
}
PRODUCT = {
    'obsID': 26604471,
    'obs_id': 'jcdm14010',
    'obs_collection': 'HST',
    'productFilename': 'jcdm14010_drc.fits',
    'dataURI': 'mast:HST/product/jcdm14010_drc.fits',
    'productSubGroupDescription': 'DRC',
    'calib_level': 3,
    'dataRights': 'PUBLIC',
    'size': 20160,
}

HTML_ERROR = (
    b'<!DOCTYPE html><html><head><title>Error</title></head><body><h1>fitscut failed</h1>No such image</body></html>'
)


def votable(rows: str, status: str = 'OK', message: str = '') -> bytes:
    """An answer of the list service."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.1" xmlns="http://www.ivoa.net/xml/VOTable/v1.1"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="{status}">{message}</INFO>
<TABLE>{_FIELDS}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>""".encode()


def picture(levels: tuple[int, ...], size: int, suffix: str = 'jpeg') -> bytes:
    """An encoded picture of one colour with a mark in its corner, so that sizes and channels can be told."""
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = levels if len(levels) == 3 else levels * 3
    pixels[: size // 8, : size // 8] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, **({'quality': 95} if suffix == 'jpeg' else {}))
    return file.getvalue()


def noise(seed: int, size: int = 300) -> bytes:
    """A JPEG that hardly compresses: 100 kB and more, to be cut off in the middle."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'jpeg', quality=95)
    return file.getvalue()


def frame() -> bytes:
    """A drizzled frame: an empty primary unit, then SCI."""
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((60, 50), np.float32), name='SCI')]).writeto(file)
    return file.getvalue()


class ArchiveServer:
    """The server, what it was asked, and the faults it shall show.

    `faults[path]` is a list of faults, one used up by each request of that path: an HTTP status, or 'html', 'truncate'
    (ends after half of the announced bytes), 'hang' (never answers), 'drip' (a piece at a time, slowly).
    `sabotage`, if any, is called with the handler, the path, the body and its type before an answer is sent; where it
    returns true it has answered itself.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.faults: dict[str, list[Any]] = {}
        self.files: dict[str, bytes] = {}
        self.feed: list[dict[str, Any]] = []
        self.page_size = 2
        self.ranges = True
        self.etags = True
        self.lengths = True
        self.sia_answer: bytes | None = None
        self.next_link: str | None = None
        self.portal_answer: bytes | None = None
        self.observations: list[dict[str, Any]] = [OBSERVATION]
        self.products: list[dict[str, Any]] = [PRODUCT]
        self.asked_portal: list[dict[str, Any]] = []
        self.sabotage: Callable[[Any, str, bytes, str], bool] | None = None
        self.ending = threading.Event()
        self._server = _Server(('127.0.0.1', 0), functools.partial(_Handler, self))
        self.url = f'http://127.0.0.1:{self._server.server_port}'
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and whatever it still sends."""
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of the requests of a path."""
        return [headers for asked, _, headers in self.requests if asked == path]

    def add_press(self, name: str, body: bytes, **changes: Any) -> dict[str, Any]:
        """Put an image into the feed, in the form that djangoplicity gives it, and its file on the server."""
        path = f'/archives/images/large/{len(self.feed)}.jpg'
        self.files[path] = body
        entry: dict[str, Any] = {
            'Creator': 'ESA/Hubble',
            'URL': 'https://esahubble.org',
            'Contact': {'City': 'Garching bei München', 'Country': 'Germany'},
            'ID': name,
            'Title': f'A galaxy called {name}',
            'Description': '<p>A spiral <em>galaxy</em> &amp; its dust.</p>',
            'Credit': 'NASA, ESA &amp; A. Astronomer',
            'PublicationDate': '2006-02-28T15:00:00Z',
            'Subject': {'Name': ['M 101'], 'Category': ['C.5.1.1.']},
            'ReferenceURL': f'https://esahubble.org/images/{name}/',
            'Rights': 'Creative Commons Attribution 4.0 International License',
            'Priority': 80,
            'Assets': [
                {
                    'MediaType': 'Image',
                    'Resources': [
                        {
                            'ResourceType': kind,
                            'MediaType': 'Image',
                            'URL': self.url + address,
                            'FileSize': len(body),
                            'Dimensions': [300, 300],
                        }
                        for kind, address in (('Original', '/archives/images/original/x.tif'), ('Large', path))
                    ],
                    'ObservationData': {
                        'Facility': ['Hubble Space Telescope', 'Hubble Space Telescope'],
                        'Instrument': ['ACS', 'WFPC2'],
                        'Spectral': {'Band': ['B', 'V', 'I']},
                        'Spatial': {'CoordinateFrame': 'ICRS', 'ReferenceValue': [RA, DEC], 'Equinox': 'J2000'},
                    },
                }
            ],
        } | changes
        self.feed.append(entry)
        return entry


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that leave are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def __init__(self, archive: ArchiveServer, *arguments: Any) -> None:
        self.archive = archive
        super().__init__(*arguments)

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name.lower(): values for name, values in parse_qs(parts.query).items()}
        self.archive.requests.append((parts.path, query, dict(self.headers)))
        self.body = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        faults = self.archive.faults.get(parts.path, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return self._send(b'<html><body>Service says no</body></html>', 'text/html', fault)
        if fault == 'html':
            return self._send(HTML_ERROR, 'text/html')
        if fault == 'hang':
            self.archive.ending.wait(10)
            self.close_connection = True
            return None
        services = {
            '/cgi-bin/hlaSIAP.cgi': self._list,
            '/cgi-bin/fitscut.cgi': self._cutout,
            '/images/d2d/': self._feed,
            '/api/v0/invoke': self._portal,
            '/api/v0.1/Download/file': self._frame,
        }
        if parts.path in services:
            return services[parts.path](query, fault)
        if parts.path.endswith('/columnsconfig'):
            return self._send(b'{"obsid": {}}', 'application/json')
        if parts.path.startswith('/sesame/'):
            return self._resolve(parts.query)
        if parts.path in self.archive.files:
            return self._file(self.archive.files[parts.path], fault)
        return self._send(b'<html><body>Not Found</body></html>', 'text/html', 404)

    do_POST = do_GET

    def _portal(self, query: dict[str, list[str]], fault: Any) -> None:
        """MAST's portal: one service for observations, one for their files."""
        self.archive.asked_portal.append(asked := json.loads(parse_qs(self.body)['request'][0]))
        if self.archive.portal_answer is not None:
            return self._send(self.archive.portal_answer, 'application/json')
        rows = self.archive.products if asked['service'].endswith('Products') else self.archive.observations
        rows = rows[: asked['pagesize']]
        paging = {'page': 1, 'pageSize': asked['pagesize'], 'pagesFiltered': 1, 'rowsFiltered': len(rows)}
        answer = {'status': 'COMPLETE', 'msg': '', 'data': rows, 'fields': [], 'paging': paging}
        return self._send(json.dumps(answer).encode(), 'application/json', 200, fault)

    def _frame(self, query: dict[str, list[str]], fault: Any) -> None:
        if query['uri'] != [self.archive.products[0]['dataURI']]:
            return self._send(b'{}', 'application/json', 404)
        return self._file(frame(), fault)

    def _send(self, body: bytes, kind: str, status: int = 200, fault: Any = None, **headers: str) -> None:
        if self.archive.sabotage and self.archive.sabotage(self, urlsplit(self.path).path, body, kind):
            return
        self.send_response(status)
        self.send_header('Content-Type', kind)
        if self.archive.lengths:
            self.send_header('Content-Length', str(len(body)))
        else:  # as a simple CGI program: it ends where the connection does
            self.send_header('Connection', 'close')
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        try:
            if fault == 'truncate':
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif fault == 'drip':
                for start in range(0, len(body), 8192):
                    self.wfile.write(body[start : start + 8192])
                    self.wfile.flush()
                    if self.archive.ending.wait(0.2):
                        break
            else:
                self.wfile.write(body)
        except OSError:  # the client has left
            self.close_connection = True

    def _file(self, body: bytes, fault: Any) -> None:
        """A file at rest: with an ETag, and in parts where these are asked for."""
        tag = f'"{zlib.crc32(body):08x}"'
        headers = {'ETag': tag} if self.archive.etags else {}
        wanted = self.headers.get('Range')
        if self.archive.ranges and wanted and self.headers.get('If-Range') == tag:
            start = int(wanted.removeprefix('bytes=').rstrip('-'))
            if start >= len(body):
                return self._send(b'', 'text/plain', 416, Content_Range=f'bytes */{len(body)}')
            headers['Content-Range'] = f'bytes {start}-{len(body) - 1}/{len(body)}'
            return self._send(body[start:], 'image/jpeg', 206, fault, **headers)
        return self._send(body, 'image/jpeg', 200, fault, **headers)

    def _list(self, query: dict[str, list[str]], fault: Any) -> None:
        if self.archive.sia_answer is not None:
            return self._send(self.archive.sia_answer, 'text/xml')
        ra, dec = map(float, query['pos'][0].split(','))
        wanted = query.get('spectral_elt', [''])[0].split(',')
        rows = ''
        if abs(ra - RA) < 1 and abs(dec - DEC) < 1:
            for name, (band, detector, exposure, _) in DATASETS.items():
                if wanted == [''] or band in wanted:
                    cells = (
                        f'{self.archive.url}/cgi-bin/getdata.cgi?dataset={name}',
                        name,
                        'NGC-5457',
                        f'{name} combined',
                    )
                    cells += (RA, DEC + 0.05 * ('_02_' in name), 2, '4200 4200', '-1.3888889e-05 1.3888889e-05')
                    cells += ('image/fits', detector, band, exposure, 2)
                    rows += '<TR>' + ''.join(f'<TD>{cell}</TD>' for cell in cells) + '</TR>\n'
        return self._send(votable(rows), 'text/xml;content=x-votable')

    def _cutout(self, query: dict[str, list[str]], fault: Any) -> None:
        names = [query[band][0] for band in ('red', 'green', 'blue') if band in query]
        if not names or any(name not in DATASETS for name in names):
            return self._send(HTML_ERROR, 'text/html')
        size = int(query.get('output_size', query['size'])[0])
        levels = tuple(DATASETS[name][3] for name in names)
        if query['format'] == ['jpg']:
            return self._send(picture(levels, size), 'image/jpeg', 200, fault)
        image = fits.PrimaryHDU(np.full((size, size), levels[0], np.float32))
        image.header['CRVAL1'], image.header['CRVAL2'] = float(query['ra'][0]), float(query['dec'][0])
        file = io.BytesIO()
        image.writeto(file)
        return self._send(file.getvalue(), 'image/fits', 200, fault)

    def _feed(self, query: dict[str, list[str]], fault: Any) -> None:
        page = int(query.get('page', ['1'])[0])
        start, end = (page - 1) * self.archive.page_size, page * self.archive.page_size
        answer: dict[str, Any] = {'Count': len(self.archive.feed), 'Collections': self.archive.feed[start:end]}
        if self.archive.next_link or end < len(self.archive.feed):
            answer['Next'] = self.archive.next_link or f'{self.archive.url}/images/d2d/?page={page + 1}'
        return self._send(json.dumps(answer).encode(), 'application/json', 200, fault)

    def _resolve(self, name: str) -> None:
        known = f'# {name}\n#=S=Simbad\n%J {RA} +{DEC} = 14:03:12.5 +54:20:56\n'
        unknown = f'# {name}\n#=S=Simbad\n#!SIMBAD: No known catalog could be found\n'
        return self._send((known if name == 'M101' else unknown).encode(), 'text/plain')
