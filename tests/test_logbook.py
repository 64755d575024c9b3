"""What a run writes."""

import numpy as np
import pytest
from PIL import Image

from astro_gan import logbook, tables


def test_rows_survive_a_round_trip_with_other_columns(tmp_path):
    """Stages have different columns; what is read back is what was written, absent values absent."""
    rows = [
        {'stage': 'supervised', 'step': 3, 'eval/l1': 0.25},
        {'stage': 'adversarial', 'step': 6, 'eval/l1': 0.125, 'discriminator/loss': 1.5},
    ]
    tables.write_rows(tmp_path / 'a.csv', rows)
    assert tables.read_rows(tmp_path / 'a.csv') == rows
    assert tables.read_rows(tmp_path / 'absent.csv') == []


def test_names_that_look_like_numbers_stay_text(tmp_path):
    """A data set called 2021, a picture called 1e5 or nan: names come back as they were written."""
    row = {'system': 'wdsr', 'step': 3, 'data': '2021', 'picture': '1e5', 'l1': 0.5}
    tables.write_rows(tmp_path / 'a.csv', [row])
    (read,) = tables.read_rows(tmp_path / 'a.csv')
    assert read == row
    assert (type(read['data']), type(read['step'])) == (str, int)


def test_a_resumed_run_writes_its_rows_once(tmp_path):
    """Rows beyond the step that a run resumes from are forgotten; those of other stages stay."""
    picture = np.zeros((8, 8, 3), np.uint8)
    book = logbook.Logbook(tmp_path)
    for stage, step in (('supervised', 2), ('supervised', 4), ('adversarial', 6), ('adversarial', 8)):
        book.evaluation({'stage': stage, 'step': step, 'eval/l1': 0.5, 'generator/loss': 1.0}, picture)
    book.close()
    resumed = logbook.Logbook(tmp_path)
    resumed.forget_after('adversarial', 6)
    resumed.evaluation({'stage': 'adversarial', 'step': 8, 'eval/l1': 0.25}, picture)
    resumed.close()
    rows = tables.read_rows(tmp_path / 'evaluations.csv')
    assert [(row['stage'], row['step']) for row in rows] == [
        ('supervised', 2),
        ('supervised', 4),
        ('adversarial', 6),
        ('adversarial', 8),
    ]
    assert rows[-1]['eval/l1'] == 0.25


def test_curves_pictures_and_tensorboard_are_there(tmp_path):
    """An evaluation leaves a readable plot, a readable picture, and scalars that TensorBoard finds."""
    book = logbook.Logbook(tmp_path)
    picture = np.full((8, 12, 3), 200, np.uint8)
    book.evaluation({'stage': 'supervised', 'step': 5, 'eval/l1': 0.5, 'generator/loss': 1.0}, picture)
    book.close()
    with Image.open(tmp_path / 'curves.png') as plot:
        assert plot.size[0] > 300
    with Image.open(tmp_path / 'samples' / 'supervised_0000005.png') as sample:
        assert (np.asarray(sample) == picture).all()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / 'tensorboard'), size_guidance={'tensors': 0}).Reload()
    tags = events.Tags()['tensors']
    assert {'eval/l1', 'generator/loss', 'samples'} <= set(tags)
    assert events.Tensors('eval/l1')[0].step == 5


def test_an_inactive_logbook_writes_nothing(tmp_path):
    """Hosts other than the first leave the files alone."""
    book = logbook.Logbook(tmp_path, active=False)
    book.scalars(1, {'a': 1.0})
    book.evaluation({'stage': 's', 'step': 1}, np.zeros((8, 8, 3), np.uint8))
    book.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('spoil', 'fault', 'rows'),
    [
        (lambda data: b'', 'it is empty', 0),
        (lambda data: bytes(len(data)), 'NUL bytes', 0),
        (lambda data: b'\xff' + data, 'no UTF-8', 0),
        (lambda data: b'name,size\na,3\n', 'other columns', 0),
        (lambda data: data.replace(b'eval/l1', b'eval/l2').replace(b'step', b'stop'), 'other columns', 0),
        (lambda data: data[:-4], 'its last line is cut', 2),
        (lambda data: data.replace(b'\nsupervised,4,', b'\nsupervised,4,,'), '5 cells in line 3, and 4 columns', 2),
        (lambda data: data.replace(b'\nsupervised,4,', b'\nsupervised,four,'), 'a step in line 3 that is no number', 2),
        (lambda data: data.replace(b'0.125', b'0.1Q5'), 'text where numbers belong', 2),
        (lambda data: data.replace(b'0.125', b'0.135'), 'rows of supervised are not those that were written', 3),
        (lambda data: data[: data.rindex(b'adv')], 'rows of adversarial are not those that were written', 2),
    ],
)
def test_a_damaged_table_is_noticed_and_kept(tmp_path, spoil, fault, rows):
    """evaluations.csv emptied, cut, of other columns or numbers: one line, the file is kept, what is good goes on."""
    picture = np.zeros((8, 8, 3), np.uint8)
    book = logbook.Logbook(tmp_path)
    for stage, step in (('supervised', 2), ('supervised', 4), ('adversarial', 6)):
        book.evaluation({'stage': stage, 'step': step, 'eval/l1': 0.5 / step, 'generator/loss': 1.0}, picture)
    book.close()
    digests = {stage: book.digest(stage) for stage in ('supervised', 'adversarial')}
    path = tmp_path / 'evaluations.csv'
    path.write_bytes(damaged := spoil(path.read_bytes()))
    lines = []
    book = logbook.Logbook(tmp_path, lines.append)
    for stage, digest in digests.items():
        book.compare(stage, digest)
    assert len(lines) == 1
    assert fault in lines[0]
    assert lines[0].endswith(f'kept as evaluations.csv.damaged1; {rows} rows of it go on')
    assert (tmp_path / 'evaluations.csv.damaged1').read_bytes() == damaged
    book.evaluation({'stage': 'adversarial', 'step': 8, 'eval/l1': 0.25, 'generator/loss': 1.0}, picture)
    book.close()
    assert len(tables.read_rows(path)) == rows + 1
    lines.clear()
    logbook.Logbook(tmp_path, lines.append)
    assert lines == []
    path.unlink()
    logbook.Logbook(tmp_path, lines.append).compare('supervised', digests['supervised'])
    assert lines == [f'{path}: gone, and with it the rows up to now']


def test_a_loss_of_rows_is_told_once(tmp_path):
    """Rows that an earlier run lost and told of are not told of again by every later one; a further loss is."""
    book = logbook.Logbook(tmp_path)
    book._rows = [{'stage': 'supervised', 'step': step, 'loss': 1.0} for step in (1, 2)]
    digest = book.digest('supervised')
    lines = []
    (tmp_path / 'evaluations.csv').write_text('')
    logbook.Logbook(tmp_path, lines.append).compare('supervised', digest)
    assert len(lines) == 1
    (tmp_path / 'evaluations.csv').write_text('stage,step,loss\nadversarial,1,1.0\n')
    logbook.Logbook(tmp_path, lines.append).compare('supervised', digest)
    assert len(lines) == 1
    (tmp_path / 'evaluations.csv').write_text('stage,step,loss\nsupervised,1,1.0\n')
    logbook.Logbook(tmp_path, lines.append).compare('supervised', digest)
    assert len(lines) == 2
