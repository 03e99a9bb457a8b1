"""moto's server, with what EC2 does when an instance goes and moto does not: its network interfaces and volumes are free again; and a volume that another instance has
is not attached. The arguments are those of moto_server."""
import copy, sys
from moto.ec2.exceptions import VolumeInUseError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance
from moto.server import main

terminate, attach = Instance.terminate, EC2Backend.attach_volume


def terminate_and_free(self):
    was = terminate(self)
    for index, interface in list(self.nics.items()):
        had = copy.copy(interface)
        self.detach_eni(interface)
        self.nics[index] = had  # what the instance is described with for as long as it is
    for volume in self.ec2_backend.volumes.values():
        if volume.attachment and volume.attachment.instance is self:
            volume.attachment = None
    return was


def attach_what_is_free(self, volume_id, instance_id, *args, **kw):
    has = self.get_volume(volume_id).attachment
    if has and has.instance.id != instance_id:
        raise VolumeInUseError(volume_id, has.instance.id)
    return attach(self, volume_id, instance_id, *args, **kw)


Instance.terminate, EC2Backend.attach_volume = terminate_and_free, attach_what_is_free
sys.exit(main())
