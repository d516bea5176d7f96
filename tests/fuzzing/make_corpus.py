"""Writes the seeds of the fuzzing: small files of all formats, from one program or another.

    python tests/fuzzing/make_corpus.py

The same versions of the libraries write the same bytes. Files whose names begin with ``found-`` are inputs that once
failed; they stay as they are.
"""

import gzip
import hashlib
import io
import json
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

import cv2  # noqa: E402
import imagecodecs  # noqa: E402
import numpy as np  # noqa: E402
import roifile  # noqa: E402
import scipy.io  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402
from fuzzing.mutations import CORPUS  # noqa: E402
from PIL import Image  # noqa: E402
from support.coco_files import HEIGHT, RUNS, WIDTH, coco_document, square  # noqa: E402
from support.synthetic_data import discs  # noqa: E402

from mmcell.checkpoints.model_writing import write_model  # noqa: E402
from mmcell.masks.rle import encode_label_map  # noqa: E402
from mmcell.predictions.dump_file import save_results  # noqa: E402

IMAGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 2)
LABELS = discs((HEIGHT, WIDTH), [(1, 10, 10, 5), (4, 10, 30, 6), (7, 28, 45, 8)])
CELLS = encode_label_map(LABELS)
OME = ('<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
       'DimensionOrder="XYCZT" Type="uint8" SizeX="60" SizeY="40" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.25" '
       'PhysicalSizeY="0.25"><Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels>'
       '</Image></OME>')
CONFIG = ("model = dict(type='FPN', in_channels=[4, 8], out_channels=4, num_outs=2)\n"
          "test_dataloader = dict(batch_size=1, dataset=dict(type='CellDataset', ann_file='test.json', "
          "data_prefix=dict(img=''), pipeline=[dict(type='LoadTiff'), dict(type='Resize', scale=(64, 64))]))\n"
          "default_scope = 'mmdet'\ncustom_imports = dict(imports=['mmcell.models'], allow_failed_imports=False)\n")
_RGB = dict(photometric='rgb')


def write_tiffs(folder):
    grey, alpha = IMAGE[:, :, 0], np.dstack([IMAGE, IMAGE[:, :, :1]])
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    for name, pixels, options in (
            ('plain', IMAGE, _RGB), ('big-endian', IMAGE, dict(_RGB, byteorder='>', rowsperstrip=7)),
            ('strips-lzw', IMAGE, dict(_RGB, rowsperstrip=9, compression='lzw', predictor=True)),
            ('tiles-deflate', IMAGE, dict(_RGB, tile=(16, 32), compression='zlib')),
            ('tiles-bigtiff', IMAGE, dict(_RGB, tile=(16, 16), bigtiff=True, byteorder='>')),
            ('tiles-jpeg', IMAGE, dict(_RGB, tile=(32, 32), compression='jpeg')),
            ('strips-ycbcr', IMAGE, dict(photometric='ycbcr', rowsperstrip=16, compression='jpeg', subsampling=(2, 2))),
            ('tiles-webp', IMAGE, dict(_RGB, tile=(32, 32), compression='webp')),
            ('tiles-png', IMAGE, dict(_RGB, tile=(32, 32), compression='png')),
            ('tiles-jpeg2000', IMAGE, dict(_RGB, tile=(48, 64), compression='jpeg2000')),
            ('tiles-jpegxl', IMAGE, dict(_RGB, tile=(48, 64), compression='jpegxl')),
            ('tiles-lerc', grey, dict(tile=(48, 64), compression='lerc')),
            ('strips-zstd', grey, dict(rowsperstrip=16, compression='zstd')),
            ('strips-lzma', grey, dict(rowsperstrip=16, compression='lzma')),
            ('strips-packbits', grey, dict(rowsperstrip=16, compression='packbits')),
            ('planes-tiles', IMAGE.transpose(2, 0, 1), dict(_RGB, planarconfig='separate', tile=(16, 16),
                                                            compression='zlib')),
            ('planes-strips', IMAGE.transpose(2, 0, 1), dict(_RGB, planarconfig='separate', rowsperstrip=9)),
            ('alpha', alpha, dict(_RGB, extrasamples=['unassalpha'], compression='lzw')),
            ('premultiplied', alpha, dict(_RGB, extrasamples=['assocalpha'])),
            ('inverted', grey, dict(photometric='miniswhite')),
            ('palette', grey, dict(photometric='palette', colormap=palette)),
            ('uint16', grey.astype(np.uint16) * 257, dict(byteorder='>', compression='zlib', predictor=True)),
            ('float32', grey.astype(np.float32) / 255, dict(compression='zlib', predictor=3)),
            ('bool', grey > 127, dict(compression='packbits')),
            ('turned', IMAGE, dict(_RGB, extratags=[(274, 3, 1, 6, True)], compression='zlib')),
            ('imagej', grey, dict(imagej=True, resolution=(4, 4), metadata=dict(unit='um'))),
            ('ome', IMAGE, dict(_RGB, description=OME, metadata=None)),
            ('aperio', IMAGE, dict(_RGB, description='Aperio Image Library v1\n60x40 |AppMag = 40|MPP = 0.2520',
                                   metadata=None, tile=(32, 32), compression='zlib'))):
        tifffile.imwrite(folder / f'{name}.tif', pixels, **{'software': 'seed', **options})
    (folder / 'packed-12-bit.tif').write_bytes(_packed_tiff(grey))
    for name, is_below in (('pyramid', False), ('subifds', True)):
        with tifffile.TiffWriter(folder / f'{name}.tif') as writer:
            writer.write(IMAGE, subifds=1 if is_below else None, tile=(16, 16), compression='zlib', **_RGB)
            writer.write(IMAGE[::2, ::2], subfiletype=1, tile=(16, 16), compression='zlib', **_RGB)
    with tifffile.TiffWriter(folder / 'three-pages.tif') as writer:
        writer.write(IMAGE.transpose(2, 0, 1), photometric='minisblack', metadata={'axes': 'CYX'}, compression='zlib')


def _packed_tiff(grey):
    """Returns a TIFF with 12 bits per sample, which tifffile does not write."""
    data = imagecodecs.packints_encode(grey.astype(np.uint16) * 16, 12)
    tags = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, HEIGHT), (279, 4, len(data))]
    return (b'II*\0' + struct.pack('<I', 8 + len(data)) + data + struct.pack('<H', len(tags))
            + b''.join(struct.pack('<HHII', code, kind, 1, value) for code, kind, value in tags) + bytes(4))


def write_encoded(folder):
    small = IMAGE[:30, :42]
    for name, options in (('color.png', []), ('grey.jpg', []), ('color.jpg', [cv2.IMWRITE_JPEG_QUALITY, 60]),
                          ('progressive.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), ('lossy.webp', [
                              cv2.IMWRITE_WEBP_QUALITY, 50]), ('lossless.webp', []), ('a.bmp', []), ('a.ppm', [])):
        cv2.imwrite(str(folder / name), small[:, :, 0] if name == 'grey.jpg' else small, options)
    (folder / 'a.jp2').write_bytes(imagecodecs.jpeg2k_encode(IMAGE, codecformat='jp2'))
    cv2.imwrite(str(folder / 'grey16.png'), small[:, :, 0].astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'alpha.png'), np.dstack([small, small[:, :, :1]]))
    with Image.fromarray(small) as picture:
        picture.quantize(16).save(folder / 'palette.png')
        picture.quantize(16).save(folder / 'a.gif')
        exif = Image.Exif()
        exif[274] = 6
        picture.save(folder / 'turned.jpg', exif=exif)
    (folder / 'text.png').write_bytes(_with_text((folder / 'color.png').read_bytes()))


def _with_text(png):
    content = b'zTXtComment\0\0' + zlib.compress(b'text' * 20)
    return png[:33] + struct.pack('>I', len(content) - 4) + content + struct.pack('>I', zlib.crc32(content)) + png[33:]


def write_label_maps(folder):
    for name, labels, options in (
            ('float64', LABELS.astype(np.float64), {}),
            ('uint16-lzw', LABELS.astype(np.uint16), dict(compression='lzw')),
            ('int32-tiles', LABELS, dict(tile=(16, 16), compression='zlib'))):
        tifffile.imwrite(folder / f'{name}.tif', labels, **options)
    cv2.imwrite(str(folder / 'labels.png'), LABELS.astype(np.uint16))
    np.save(folder / 'labels.npy', LABELS.astype(np.uint16))
    np.save(folder / 'fortran.npy', np.asfortranarray(LABELS))
    seg = {'masks': LABELS.astype(np.uint16), 'outlines': LABELS > 3, 'filename': 'image.tif', 'chan_choose': [0, 0],
           'ismanual': np.zeros(3, bool), 'est_diam': 12.}
    np.save(folder / 'image_seg.npy', seg)


def write_mats(folder):
    types = np.array([1, 2, 2])
    for name, content, is_packed in (
            ('types', {'inst_map': LABELS.astype(np.float64), 'type_map': (LABELS > 3) + 1.}, True),
            ('plain', {'inst_map': LABELS.astype(np.uint16), 'inst_type': types}, False),
            ('extra', {'inst_map': LABELS, 'name': 'text', 'cell': np.array([[1, 'a']], object)}, False)):
        packed = io.BytesIO()
        scipy.io.savemat(packed, content, do_compression=is_packed)
        # The first bytes hold the time of day.
        (folder / f'{name}.mat').write_bytes(b'MATLAB 5.0 MAT-file'.ljust(116) + packed.getvalue()[116:])


def write_voc(masks, lists):
    for name, indices in (('palette', LABELS), ('void', np.where(LABELS == 7, 255, LABELS))):
        with Image.fromarray(indices.astype(np.uint8), mode='P') as picture:
            picture.putpalette(list(range(256)) * 3)
            picture.save(masks / f'{name}.png')
    (lists / 'train.txt').write_text('2007_000032\n2007_000039.jpg\nJPEGImages/2007_000063\n')
    _write_json(lists / 'train.json', {'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}]})


def _write_json(path, content):
    path.write_text(json.dumps(content))


def write_coco(coco, masks):
    document = coco_document()
    document['images'][0]['file_name'] = 'image.tif'
    _write_json(coco / 'polygons.json', document)
    for annotation, rle in zip(document['annotations'], CELLS.rles, strict=False):
        annotation.update(segmentation=rle)
        del annotation['bbox'], annotation['area']
    document['annotations'] = document['annotations'][:3]
    document['annotations'][0].update(segmentation=RUNS, iscrowd=1)
    document['info'] = {'data_root': '.', 'channel_order': 'rgb', 'file_set': {'id': 'a', 'files': ['test.json']}}
    document['images'][0]['mpp'] = .25
    _write_json(coco / 'rles.json', document)
    _write_json(masks / 'masks.json', [*CELLS.rles, RUNS, square(3, 4), [*square(3.5, 4), *square(30, 20, 5)]])


def write_predictions(results, submission, dump):
    records = [{'image_id': 5, 'category_id': 1 + place % 2, 'score': .5 + place / 10, 'bbox': box, 'segmentation': rle}
               for place, (rle, box) in enumerate(zip(CELLS.rles, CELLS.bboxes_xywh.tolist(), strict=True))]
    _write_zip(submission / 'submission.zip', {'test-results.json': json.dumps(records)})
    _write_zip(results / 'submission.zip', {'test-results.json': json.dumps(records)})
    records.append({'image_id': 5, 'category_id': 2, 'score': .1, 'segmentation': square(3, 4)})
    _write_json(results / 'results.json', records)
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    sample = {'img_id': 5, 'img_path': 'image.tif', 'ori_shape': (HEIGHT, WIDTH), 'classes': ['round', 'flat'],
              'channel_order': 'rgb', 'percentiles': None, 'pred_instances': {
                  'bboxes': boxes, 'scores': np.array([.9, .5, .25], np.float32), 'labels': np.array([0, 1, 0]),
                  'masks': CELLS.rles}}
    save_results([sample], dump / 'dump.pkl')
    _number_storages(dump / 'dump.pkl')


def _number_storages(path):
    """Replaces addresses of memory by numbers: in its older format, torch names the storages of tensors by them."""
    numbers = {}
    path.write_bytes(re.sub(rb'(?<=\x0e\0\0\0)9\d{13}', lambda found: numbers.setdefault(
        found[0], b'%d' % (9 * 10 ** 13 + len(numbers))), path.read_bytes()))


def _write_zip(path, entries):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def write_outlines(geojson, aperio, imagej):
    def feature(x, kind, **properties):
        return {'type': 'Feature', 'geometry': {'type': 'Polygon', 'coordinates': [
            [[x, 5], [x + 9, 5], [x + 9, 14], [x, 14], [x, 5]], [[x + 2, 7], [x + 4, 7], [x + 4, 9], [x + 2, 7]]]},
                'properties': {'objectType': kind, **properties}}

    features = [feature(5, 'annotation', classification={'name': 'Tumor', 'color': [200, 0, 0]}, name='one'),
                feature(20, 'annotation', classification={'names': ['Tumor', 'Positive']}, isLocked=True),
                {'type': 'Feature', 'id': 'PathAnnotationObject', 'properties': {'measurements': [
                    {'name': 'Area px^2', 'value': 3}], 'childObjects': [feature(40, 'detection')]}, 'geometry': {
                        'type': 'MultiPolygon', 'coordinates': [[[[30, 20], [50, 20], [50, 35], [30, 20]]]]}}]
    collection = {'type': 'FeatureCollection', 'features': features}
    _write_json(geojson / 'collection.geojson', collection)
    _write_json(geojson / 'list.geojson', features)
    (geojson / 'packed.geojson.gz').write_bytes(gzip.compress(json.dumps(collection).encode(), mtime=0))
    _write_zip(geojson / 'packed.geojson.zip', {'a.geojson': json.dumps(collection)})
    for name, shift in (('whole', 0), ('parts', .25)):
        (aperio / f'{name}.xml').write_text(_aperio(shift))
    rois = {'00001-round.roi': roifile.ImagejRoi.frompoints(np.array([[5, 5], [15, 5], [15, 15], [5, 12]])),
            '0010-0020.roi': roifile.ImagejRoi.frompoints(np.array([[25.5, 5], [35, 5.5], [30, 15]]))}
    for name, roi in rois.items():
        roi.name, roi.group = name[:-4], 2
    oval = roifile.ImagejRoi.frompoints(np.array([[40, 20], [50, 20], [50, 30]]))
    oval.roitype, oval.n_coordinates, oval.integer_coordinates = roifile.ROI_TYPE.OVAL, 0, None
    oval.name, rois['oval.roi'] = 'oval', oval
    _write_zip(imagej / 'rois.zip', {name: roi.tobytes() for name, roi in rois.items()})
    (imagej / 'one.roi').write_bytes(rois['00001-round.roi'].tobytes())


def _aperio(shift):
    def region(number, x, kind='0', negative='0'):
        points = ((x, 5), (x + 12, 5), (x + 12, 17), (x, 17))
        vertices = ''.join(f'<Vertex X="{a + shift}" Y="{b}" Z="0"/>' for a, b in points)
        return (f'<Region Id="{number}" Type="{kind}" NegativeROA="{negative}" Text=""><Vertices>{vertices}</Vertices>'
                '</Region>')

    return ('<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name=""><Attributes><Attribute Name="Epithelial" '
            f'Value=""/></Attributes><Regions>{region(1, 5)}{region(2, 25, "2")}{region(3, 8, "0", "1")}</Regions>'
            f'</Annotation><Annotation Id="2" Name="Ambiguous"><Regions>{region(4, 44, "1")}</Regions></Annotation>'
            '</Annotations>')


def write_tables(tables, ids, curves):
    (tables / 'comma.csv').write_text('id,class\n1,round\n4,flat\n7,2\n')
    (tables / 'images.csv').write_text('image;label;type\nimage.tif;1;round\n"image";4;"flat"\nimage.tif;7;0\n')
    _write_json(ids / 'ids.json', [{'file_name': 'a.tif', 'id': 3, 'height': HEIGHT, 'width': WIDTH},
                                   {'file_name': 'b.tif', 'id': 4, 'height': 10, 'width': 12}])
    steps = [{'lr': .02, 'loss': 2. / step, 'loss_mask': 1., 'epoch': 1, 'iter': step, 'memory': 900, 'time': .5,
              'step': step} for step in (10, 20, 30)]
    steps.append({'AP': .3, 'AP50': .6, 'step': 1})
    (curves / 'scalars.jsonl').write_text('\n'.join(map(json.dumps, steps)) + '\n')


def write_journal(folder):
    boxes = CELLS.bboxes_xywh.astype(float)
    boxes[:, 2:] += boxes[:, :2]
    tile = {'tile': 1, 'bboxes': boxes.tolist(), 'scores': [.9, .5, .25], 'labels': [0, 1, 0], 'size': [HEIGHT, WIDTH],
            'counts': [rle['counts'] for rle in CELLS.rles]}
    empty = {**tile, 'tile': 2, **{key: [] for key in ('bboxes', 'scores', 'labels', 'counts')}}
    (folder / 'tiles.jsonl').write_text('\n'.join(map(json.dumps, [{'settings': {'tile_px': 32}}, tile, empty])) + '\n')


def write_models(checkpoint, weights, description, config, beside):
    torch.manual_seed(0)
    state = {f'{part}_convs.{place}.conv.{name}': torch.full(shape, .5)
             for part, kernel in (('lateral', 1), ('fpn', 3)) for place, channels in enumerate((4, 8))
             for name, shape in (('weight', (4, channels if part == 'lateral' else 4, kernel, kernel)), ('bias', (4,)))}
    meta = {'cfg': CONFIG, 'dataset_meta': {'classes': ('round', 'flat'), 'channel_order': 'rgb', 'mpp': .25},
            'epoch': 3, 'iter': 90, 'seed': 0, 'time': '20260101_000000', 'mmcell': {'scores': {'AP': .5}}}
    torch.save({'state_dict': state, 'meta': meta}, checkpoint / 'new.pth')
    # The older format sorts storages by their addresses in memory, so that only the order of a single one is certain.
    shared = torch.full((max(value.numel() for value in state.values()),), .5)
    shared = {name: shared[:value.numel()].view(value.shape) for name, value in state.items()}
    torch.save({'state_dict': shared, 'meta': meta}, checkpoint / 'old.pth', _use_new_zipfile_serialization=False)
    _number_storages(checkpoint / 'old.pth')
    write_model({'state_dict': state, 'meta': meta}, beside / 'model.safetensors', {'name': 'small'})
    (weights / 'model.safetensors').write_bytes((beside / 'model.safetensors').read_bytes())
    (description / 'model.json').write_bytes((beside / 'model.json').read_bytes())
    assert json.loads((beside / 'model.json').read_text())['sha256'] == hashlib.sha256(
        (beside / 'model.safetensors').read_bytes()).hexdigest()
    (config / 'config.cfg').write_text(CONFIG)


def main():
    def folder(name):
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        return CORPUS / name

    beside = folder('beside')
    tifffile.imwrite(beside / 'image.tif', IMAGE, compression='zlib', **_RGB)
    document = coco_document()
    document['images'][0]['file_name'] = 'image.tif'
    _write_json(beside / 'test.json', document)
    write_tiffs(folder('tiff'))
    write_encoded(folder('encoded'))
    write_label_maps(folder('label_map'))
    write_mats(folder('mat'))
    write_voc(folder('voc_masks'), folder('voc_list'))
    write_coco(folder('coco'), folder('masks'))
    write_predictions(folder('results'), folder('submission'), folder('dump'))
    write_outlines(folder('geojson'), folder('aperio'), folder('imagej'))
    write_tables(folder('class_table'), folder('id_list'), folder('curves'))
    write_journal(folder('journal'))
    write_models(folder('checkpoint'), folder('weights'), folder('description'), folder('config'), beside)


if __name__ == '__main__':
    main()
